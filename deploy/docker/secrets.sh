#!/bin/sh
# Generates and prints every secret that compose.yaml asks for: ./secrets.sh > .env
set -eu
umask 077
random() { python3 -c 'import secrets; print(secrets.token_urlsafe(48))'; }
# Passwords in addresses may have letters and digits only, or would have to be percent-encoded.
word() { python3 -c 'import secrets; print(secrets.token_hex(24))'; }
echo "MONGO_ADMIN_PASSWORD=$(word)"
echo "MONGO_PASSWORD=$(word)"
echo "JWT_SECRET=$(random)"
echo "RECEIPT_KEY=$(python3 -c 'import secrets; print(secrets.token_hex(32))')"
echo "METRICS_TOKEN=$(random)"
echo "GRAFANA_PASSWORD=$(word)"
