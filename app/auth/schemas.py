"""What the auth routes take and answer."""

from typing import Any

from email_validator import EmailNotValidError, validate_email
from marshmallow import fields, validate

from app.auth.service import PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, Role
from app.fields import CamelSchema, Id, Line, UtcDateTime

NAME_LENGTH_MAX = 100


def _normalized(email: str) -> str:
    return validate_email(email.strip(), check_deliverability=False).normalized.lower()


class EmailAddress(fields.String):
    """An e-mail address, trimmed and in lower case, by its syntax alone."""

    default_error_messages = {"invalid": "Not an e-mail address."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return _normalized(text)
        except EmailNotValidError as error:
            raise self.make_error("invalid") from error


class LoginEmail(fields.String):
    """An e-mail address to look up, written as registration keeps it.

    What is no address is left as it is: nobody has it, and a login says no more than that.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            return _normalized(text)
        except EmailNotValidError:
            return text


class NewPassword(fields.String):
    """A password that bcrypt can keep whole: its limits count bytes, not characters, and a NUL is its end mark."""

    default_error_messages = {
        "bytes": f"A password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes in UTF-8.",
        "nul": "A password has no NUL characters.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        password = super()._deserialize(value, attr, data, **kwargs)
        if not PASSWORD_BYTES_MIN <= len(password.encode()) <= PASSWORD_BYTES_MAX:
            raise self.make_error("bytes")
        if "\0" in password:
            raise self.make_error("nul")
        return password


class UserSchema(CamelSchema):
    """A registered user."""

    id = Id(attribute="_id", required=True)
    name = fields.String(required=True)
    email = fields.String(required=True)
    role = fields.String(required=True, validate=validate.OneOf([role.value for role in Role]))
    created_at = UtcDateTime(required=True)


class UserAnswerSchema(CamelSchema):
    user = fields.Nested(UserSchema, required=True)


class SessionSchema(CamelSchema):
    """A new session: the user, a short-lived access token, and the refresh token that gets the next one."""

    user = fields.Nested(UserSchema, required=True)
    token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds until `token` expires."})


class MessageSchema(CamelSchema):
    message = fields.String(required=True)


class RegisterSchema(CamelSchema):
    name = Line(length_min=1, length_max=NAME_LENGTH_MAX, required=True)
    email = EmailAddress(required=True)
    password = NewPassword(required=True, load_only=True, metadata={"format": "password"})


class LoginSchema(CamelSchema):
    email = LoginEmail(required=True)
    password = fields.String(required=True, load_only=True, metadata={"format": "password"})
