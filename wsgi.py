"""The WSGI application: `gunicorn wsgi:app`."""

import gc
import sys

# What the modules bring along stays for good. The collector would go through it again and again: while it is being
# loaded, which takes half as long again, and for as long as the process lives.
gc.disable()

from app import create_app  # noqa: E402
from config import ConfigError  # noqa: E402

# Not done, as the commands of `flask --app wsgi` mean it. For gunicorn it means that trying again is of no use.
EXIT_NOT_DONE = 3

try:
    app = create_app()
except ConfigError as error:
    # One line, because this is where every command begins and nobody's traceback would say more.
    sys.stderr.write(f"{error}\n")
    sys.exit(EXIT_NOT_DONE)
gc.freeze()
gc.enable()
