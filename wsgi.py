"""The WSGI application: `gunicorn wsgi:app`."""

import gc
import sys

# Objects that modules make at import stay for ever. The garbage collector would scan them again and again, and would
# make the import half as long again.
gc.disable()

from app import create_app  # noqa: E402
from config import ConfigError  # noqa: E402

# To the commands of `flask --app wsgi` this means "not done", and to gunicorn that it is useless to start another
# worker.
EXIT_NOT_DONE = 3

try:
    app = create_app()
except ConfigError as error:
    if "doctor" not in sys.argv[1:]:
        # Every command starts here, and a traceback would not say more than this line.
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_NOT_DONE)
    # The one command that works with settings with which the bank cannot start. It says the same and more.
    from app.cli import infirmary

    app = infirmary()
gc.freeze()
gc.enable()
