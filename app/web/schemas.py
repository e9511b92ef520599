"""The answer of the page's session routes."""

from marshmallow import fields, validate

from app.auth.schemas import EXAMPLE_USER, UserSchema
from app.auth.unsubscribing import TOKEN_LENGTH_MAX
from app.fields import CamelSchema


class LetterLinkSchema(CamelSchema):
    """The query of a link that turns letters off."""

    token = fields.String(required=True, validate=validate.Length(1, TOKEN_LENGTH_MAX))


class BrowserSessionSchema(CamelSchema):
    """A browser's session: the user and a short-lived access token. The refresh token is in a cookie."""

    example = {"user": EXAMPLE_USER, "token": "eyJhbGciOi… (shortened)", "expiresIn": 900}

    user = fields.Nested(UserSchema, required=True)
    token = fields.String(required=True)
    expires_in = fields.Integer(
        required=True, metadata={"format": "int32", "description": "Seconds until `token` expires."}
    )
