
import os

INSTALLED_APPS += ["payments"]
# libpq takes the rest from PGHOST, PGUSER and so on.
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}}
