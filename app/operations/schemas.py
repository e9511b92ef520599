"""The answers of the routes for operators and for whoever checks a receipt."""

from marshmallow import fields

from app.fields import CamelSchema, Choice


class HealthSchema(CamelSchema):
    """Whether this process serves requests."""

    example = {"status": "ok"}

    status = Choice(["ok"], required=True)


class ReadinessSchema(CamelSchema):
    """Whether this process can do its work."""

    example = {"status": "ready"}

    status = Choice(["ready"], required=True)


class JsonWebKeySchema(CamelSchema):
    """A public key (RFC 7517) of the bank, which checks receipts."""

    kty = Choice(["OKP"], required=True)
    crv = Choice(["Ed25519"], required=True)
    x = fields.String(required=True, metadata={"description": "The key, in base64url."})
    alg = Choice(["EdDSA"], required=True)
    use = Choice(["sig"], required=True)
    kid = fields.String(required=True, metadata={"description": "The key's thumbprint (RFC 7638), as in receipts."})


class JsonWebKeySetSchema(CamelSchema):
    """The keys of this bank. None: it signs no receipts."""

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
