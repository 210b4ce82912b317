"""Serve the smallest project around payments.py."""

import os
from wsgiref.simple_server import make_server

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
make_server("127.0.0.1", int(os.environ["PORT"]), get_wsgi_application()).serve_forever()
