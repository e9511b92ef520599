"""The answers of the routes for operators and for people who check receipts."""

from marshmallow import fields

from app.fields import CamelSchema


class HealthSchema(CamelSchema):
    """Whether this process serves requests."""

    example = {"status": "ok"}

    status = fields.String(required=True, metadata={"description": "`ok`."})


class ReadinessSchema(CamelSchema):
    """Whether this process can do its work."""

    example = {"status": "ready"}

    status = fields.String(required=True, metadata={"description": "`ready`."})


class JsonWebKeySchema(CamelSchema):
    """A public key (RFC 7517) of the bank, for checking receipts."""

    kty = fields.String(required=True, metadata={"description": "The kind of key: `OKP`."})
    crv = fields.String(required=True, metadata={"description": "The curve: `Ed25519`."})
    x = fields.String(required=True, metadata={"description": "The key, in base64url."})
    alg = fields.String(required=True, metadata={"description": "How it signs: `EdDSA`."})
    use = fields.String(required=True, metadata={"description": "What it is for: `sig`."})
    kid = fields.String(required=True, metadata={"description": "The key's thumbprint (RFC 7638), as in receipts."})


class JsonWebKeySetSchema(CamelSchema):
    """The keys of this bank. Without any, it signs no receipts."""

    example = {
        "keys": [
            {
                "crv": "Ed25519",
                "kty": "OKP",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                "alg": "EdDSA",
                "use": "sig",
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            }
        ]
    }

    keys = fields.List(fields.Nested(JsonWebKeySchema), required=True)
