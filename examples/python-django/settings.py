
import os

INSTALLED_APPS += ["payments"]
# What is not said here, libpq takes from PGHOST, PGUSER and the like.
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}}
