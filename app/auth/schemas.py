"""The requests and answers of the auth routes."""

from typing import Any

from marshmallow import ValidationError, fields

from app.addresses import normal_email
from app.auth.languages import Language
from app.auth.passwords import PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN, fault_of
from app.auth.preferences import DEFAULTS, SECURITY, Frequency, stored_name
from app.auth.roles import Role
from app.fields import CamelSchema, Choice, Id, Line, StrictBoolean, UtcDateTime

NAME_LENGTH_MAX = 100

EXAMPLE_USER: dict[str, Any] = {
    "id": "6560a1b2c3d4e5f601230001",
    "name": "Asha Rao",
    "email": "asha@example.com",
    "role": "USER",
    "createdAt": "2026-11-02T09:29:00.000Z",
}


class RoleName(Choice):
    """What a user may do."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Role, named="UserRole", **kwargs)


class LanguageName(Choice):
    """A language in which the bank writes letters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Language, named="Language", **kwargs)


class FrequencyName(Choice):
    """When letters of a kind go: each at once, in a daily or weekly digest, or not at all."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(Frequency, named="LetterFrequency", **kwargs)


class SecurityFrequency(Choice):
    """When letters about security go: at once."""

    default_error_messages = {"security": "These letters concern security, so they stay `each`."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__([Frequency.EACH], named="SecurityLetterFrequency", **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text != Frequency.EACH:
            raise self.make_error("security")
        return text


class EmailAddress(fields.String):
    """An e-mail address, converted to its normal form. Only its syntax is checked."""

    default_error_messages = {"invalid": "Not an e-mail address."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"format": "email", **kwargs.pop("metadata", {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        email = normal_email(text)
        if email is None:
            raise self.make_error("invalid")
        return email


class LoginName(fields.String):
    """The name given at a login: an e-mail address in its normal form, or any other text as it is.

    Other text is no validation error. It matches no user, so the answer is the same as for a wrong password.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        return normal_email(text) or text


class NewPassword(fields.String):
    """A new password. It is not among the most used ones, and bcrypt reads all of it: at most 72 bytes and no NUL."""

    def __init__(self, **kwargs: Any) -> None:
        limits = f"{PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes in UTF-8 after NFKC. The most used are refused."
        super().__init__(load_only=True, metadata={"format": "password", "description": limits}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        password = super()._deserialize(value, attr, data, **kwargs)
        fault = fault_of(password)
        if fault is not None:
            raise ValidationError(fault)
        return password


class UserSchema(CamelSchema):
    """A registered user."""

    id = Id(attribute="_id", required=True)
    name = fields.String(required=True)
    email = fields.String(required=True)
    role = RoleName(required=True)
    created_at = UtcDateTime(required=True)


class UserAnswerSchema(CamelSchema):
    """A user."""

    example = {"user": EXAMPLE_USER}

    user = fields.Nested(UserSchema, required=True)


class SessionSchema(CamelSchema):
    """A session: the user, a short-lived access token, and the refresh token that gets new tokens."""

    example = {
        "user": EXAMPLE_USER,
        "token": "eyJhbGciOi… (shortened)",
        "refreshToken": "eyJhbGciOi… (shortened)",
        "expiresIn": 900,
    }

    user = fields.Nested(UserSchema, required=True)
    token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    expires_in = fields.Integer(
        required=True, metadata={"format": "int32", "description": "Seconds until `token` expires."}
    )


class ConfirmationSchema(CamelSchema):
    """What was done, for people to read."""

    example = {"message": "Logged out."}

    message = fields.String(required=True)


class RegisterSchema(CamelSchema):
    """A new user."""

    name = Line(length_min=1, length_max=NAME_LENGTH_MAX, required=True)
    email = EmailAddress(required=True)
    password = NewPassword(required=True)


class LoginSchema(CamelSchema):
    """Who logs in."""

    email = LoginName(required=True)
    password = fields.String(required=True, load_only=True, metadata={"format": "password"})


class RenameMeSchema(CamelSchema):
    """The user's new name."""

    name = Line(length_min=1, length_max=NAME_LENGTH_MAX, required=True)


def _kinds_of_letters(name: str, said: str, *, is_answer: bool) -> CamelSchema:
    """Return a schema with a member for each kind of letter, called as the type of its event."""
    kinds = {
        stored_name(type_): (SecurityFrequency if type_ in SECURITY and not is_answer else FrequencyName)(
            data_key=type_.value, required=is_answer
        )
        for type_ in DEFAULTS
    }
    made: type[CamelSchema] = type(name, (CamelSchema,), {"__module__": __name__, "__doc__": said, **kinds})
    return made()


EXAMPLE_KINDS = {type_.value: frequency.value for type_, frequency in DEFAULTS.items()}


class NotificationsSchema(CamelSchema):
    """A user's preferences for letters."""

    example = {"language": "en", "kinds": {**EXAMPLE_KINDS, "money.received": "daily"}}

    language = LanguageName(required=True)
    kinds = fields.Nested(
        _kinds_of_letters("LetterKindsSchema", "When letters of each kind go.", is_answer=True), required=True
    )


class ChooseNotificationsSchema(CamelSchema):
    """Changes to the preferences for letters; the rest stays."""

    language = LanguageName()
    kinds = fields.Nested(
        _kinds_of_letters(
            "ChosenKindsSchema", "When letters of these kinds are to go; the others stay.", is_answer=False
        )
    )


class LogoutSchema(CamelSchema):
    """How much a logout ends."""

    may_be_absent = True

    everywhere = StrictBoolean(metadata={"description": "Whether every session of the user ends."})


class ChangePasswordSchema(CamelSchema):
    """The present password and the new one."""

    current_password = fields.String(required=True, load_only=True, metadata={"format": "password"})
    new_password = NewPassword(required=True)


class ForgotPasswordSchema(CamelSchema):
    """Whose password is forgotten."""

    email = EmailAddress(required=True)


class ResetPasswordSchema(CamelSchema):
    """A token from a mail and the new password."""

    token = fields.String(
        required=True, load_only=True, metadata={"description": "From the mail. Blanks around it are ignored."}
    )
    new_password = NewPassword(required=True)
