# make run     start everything Fincore needs and serve on http://127.0.0.1:5000
#              (make run PORT=8000 DATA_DIR=/path; any setting of .env.example goes)
# make test    run every test; make test ARGS='-k holds' some of them
# make lint    check style and types; make format repairs what can be repaired
# make lock    pin requirements*.in into requirements*.txt, with hashes
# make clean   remove what make and the tools made, but not the data in var/

PYTHON := python3.11
# Written when the installation is complete, so that an interrupted one is done again.
INSTALLED := .venv/installed
LOCK := .venv/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe

# Compiled modules are kept, whatever the shell says: each process that starts would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint format lock clean

# exec and the shell's parent, this make: the supervisor stops when make is killed.
run: $(INSTALLED)
	@exec .venv/bin/python -m local.supervisor --with-parent $$PPID

test: $(INSTALLED)
	@.venv/bin/python -m pytest -n 4 --dist worksteal $(ARGS)

lint: $(INSTALLED)
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/bandit --quiet --configfile pyproject.toml --severity-level medium --recursive app local config.py wsgi.py gunicorn.conf.py
	@found=$$(.venv/bin/pip-audit --progress-spinner off --disable-pip --require-hashes -r requirements-dev.txt 2>&1); code=$$?; \
	case "$$code $$found" in \
		1*Found*vulnerabilit*) echo "$$found"; exit 1;; \
		"0 "*"could not be audited"*|*ConnectionError*|*NameResolutionError*|*"Max retries"*|*"Temporary failure"*|*"Could not connect"*|*"timed out"*) \
			echo "pip-audit: NOT DONE. Its service can not be reached from here.";; \
		"0 "*) echo "pip-audit: $$found";; \
		*) echo "$$found"; exit 1;; \
	esac

format: $(INSTALLED)
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock: .venv/bin/pip-compile
	@$(LOCK) --output-file requirements.txt requirements.in
	@$(LOCK) --output-file requirements-dev.txt requirements-dev.in

clean:
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis .coverage htmlcov
	@find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +

# An installation that is only out of date is brought up to date; one that was interrupted is made anew.
$(INSTALLED): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Fincore needs $(PYTHON) with venv. On Debian or Ubuntu: apt-get install $(PYTHON) $(PYTHON)-venv" >&2; exit 1; }
	@test -f $@ || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@rm -f $@
	@echo "Installing into .venv; the first time this takes a minute or two."
	@.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r requirements-dev.txt
	@touch $@

# Without the lock files there is nothing to install from yet.
.venv/bin/pip-compile:
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input "$$(sed -n 's/^\(pip-tools==[^ ]*\).*/\1/p' requirements-dev.in)"
