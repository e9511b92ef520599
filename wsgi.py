"""The WSGI application: `gunicorn wsgi:app`."""

import gc

# What the modules bring along stays for good. The collector would go through it again and again: while it is being
# loaded, which takes half as long again, and for as long as the process lives.
gc.disable()

from app import create_app  # noqa: E402

app = create_app()
gc.freeze()
gc.enable()
