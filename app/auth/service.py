"""Users: registration, checking credentials, changing names and passwords, finding users."""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from app import clock, mongo
from app.acts import Act
from app.addresses import normal_email
from app.audit import audit_record, insert_audit_records
from app.auth import attempts, passwords, preferences, repository, resets, sessions
from app.auth.preferences import Frequency, Preferences
from app.auth.roles import Role
from app.errors import EmailTaken, InvalidCredentials, TooManyAttempts
from app.mongo import Document
from app.networks import client_network
from app.outbox import messages
from app.outbox import repository as outbox
from app.outbox.events import EventType
from app.settings.policies import AuthPolicy
from app.telemetry import metrics

# Case folding and NFKC can turn a name of 100 characters into a key of thousands, and cursors contain the key.
NAME_KEY_LENGTH_MAX = 150

_ID = re.compile(r"[0-9a-fA-F]{24}")
_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


@dataclass(frozen=True, slots=True)
class Recipient:
    """The addressee of a mail, and how they want letters."""

    name: str
    email: str
    preferences: Preferences


class NotTheSystemUser(Exception):
    """The e-mail address of the bank's own user belongs to somebody else."""


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be registered. `email` is in its normal form."""

    name: str
    email: str
    password: str = field(repr=False)


def register(
    new: NewUser,
    *,
    policy: AuthPolicy,
    role: Role = Role.USER,
    act: Act | None = None,
    network: str | None = None,
) -> Document:
    """Create a user and return it; raises EmailTaken. `network` is the client's.

    If somebody else registers the user, `act` says who, and the audit log records it.
    """
    user: Document = {
        "_id": ObjectId(),
        "email": new.email,
        "name": new.name,
        "name_key": name_key(new.name),
        "password_hash": passwords.hash_password(new.password, policy.bcrypt_rounds),
        "role": role.value,
        "created_at": clock.now(),
    }

    def block(session: ClientSession) -> None:
        repository.insert_user(user, session)
        if role is not Role.SYSTEM:
            outbox.insert([messages.welcome(user)], session)
        if act is not None:
            after = {"email": new.email, "role": role.value}
            record = audit_record(act, "user_created", user["_id"], at=user["created_at"], before=None, after=after)
            insert_audit_records([record], session)

    try:
        mongo.atomically(block)
    except DuplicateKeyError:
        raise EmailTaken from None
    attempts.Guesses(new.email, network).know()
    return user


def authenticate(*, email: str, password: str, policy: AuthPolicy, act: Act) -> Document:
    """Return the user with these credentials.

    Raises InvalidCredentials, with the same text and after the same time whatever is wrong. Raises
    TooManyAttempts if the policy delays guesses. `act` tells who asks, and from where.
    """
    guesses = attempts.Guesses(email, client_network(act.address) if act.address else None)
    if policy.delays_guesses:
        try:
            guesses.admit()
        except TooManyAttempts:
            metrics.LOGINS.labels("put_off").inc()
            raise
    user = repository.find_user_by_email(email)
    password_hash = user["password_hash"] if user else passwords.nobodys_hash(policy.bcrypt_rounds)
    matches = passwords.matches(password, password_hash)
    if user is None or not matches:
        if guesses.record_failure():
            _record_guessing(email, act)
        metrics.LOGINS.labels("refused").inc()
        raise InvalidCredentials
    metrics.LOGINS.labels("accepted").inc()
    guesses.forgive()
    is_as_new = passwords.is_costed(password_hash, policy.bcrypt_rounds)
    if not (is_as_new and passwords.is_normal_hash(password, password_hash)) and passwords.is_hashable(password):
        # Otherwise the time of a login would tell who exists, because an unknown user's check has the present cost.
        costlier = passwords.hash_password(password, policy.bcrypt_rounds)
        repository.rehash_password(user["_id"], costlier, replaced_hash=password_hash)
    return user


def ensure_system_user(*, email: str, password: str, policy: AuthPolicy) -> bool:
    """Create the bank's own user unless it exists; return whether it was created.

    Raises NotTheSystemUser if the address belongs to a user with another role.
    """
    if _is_system_user(email):
        return False
    try:
        register(NewUser("Fincore", email, password), policy=policy, role=Role.SYSTEM)
    except EmailTaken:
        return not _is_system_user(email)
    return True


def _is_system_user(email: str) -> bool:
    user = repository.find_user_by_email(email)
    if user is not None and user["role"] != Role.SYSTEM:
        raise NotTheSystemUser(f"{email} is registered as a user with the role {user['role']}, not {Role.SYSTEM}.")
    return user is not None


def change_name(user_id: ObjectId, name: str) -> Document | None:
    """Give the user another name and return the user, or None if there is none."""
    return repository.rename_user(user_id, name, name_key(name))


def choose_notifications(
    user_id: ObjectId, *, language: str | None = None, kinds: Mapping[str, str] | None = None
) -> Preferences | None:
    """Change the user's preferences and return them; what is left out stays. Return None if there is no such user.

    `kinds` maps names, as `preferences.stored_name` gives them, to frequencies. Messages that wait for a digest are
    considered again. A message that a deliverer keeps for a digest at this very moment is considered when the digest
    goes.
    """
    changes = preferences.changes_of(language, kinds or {})
    user = repository.change_preferences(user_id, changes) if changes else repository.find_user(user_id)
    if kinds:
        outbox.wake(user_id, clock.now())
    return None if user is None else preferences.preferences_of(user)


def turn_off(user_id: ObjectId, types: Collection[EventType]) -> bool:
    """Turn a user's letters of these kinds off; return whether there is such a user."""
    off = {preferences.stored_name(type_): Frequency.OFF.value for type_ in types}
    return choose_notifications(user_id, kinds=off) is not None


def has_password(email: str, password: str) -> bool:
    """Tell whether the user with this address has this password. Not a login: no delay, no failure counted."""
    user = repository.find_user_by_email(email)
    return user is not None and passwords.matches(password, user["password_hash"])


def change_password(
    user: Document,
    *,
    current_password: str,
    new_password: str,
    session_id: str,
    policy: AuthPolicy,
    network: str | None,
) -> None:
    """Give the user a new password and end all their sessions except this one.

    Raises TooManyAttempts, and InvalidCredentials if the current password is wrong or another change was faster.
    """
    holder = attempts.session_holder(user["_id"])
    if policy.delays_guesses:
        attempts.admit([holder])
    if not passwords.matches(current_password, user["password_hash"]):
        attempts.record_failure([holder])
        raise InvalidCredentials("The current password is wrong.")
    password_hash = passwords.hash_password(new_password, policy.bcrypt_rounds)

    def block(session: ClientSession) -> None:
        changed = repository.replace_password(
            user["_id"], password_hash, session, spared=session_id, replaced_hash=user["password_hash"]
        )
        if changed is None:
            raise InvalidCredentials("The current password is wrong.")
        sessions.end_sessions_of(changed, session)
        resets.void_reset(changed["email"], session)
        outbox.insert([messages.password_changed(changed, clock.now())], session)

    mongo.atomically(block)
    attempts.forget_user(user, network=network)


def name_key(name: str) -> str:
    """Return the form of a name that searches compare. It ignores case, width and the like."""
    return unicodedata.normalize("NFKC", name).casefold()[:NAME_KEY_LENGTH_MAX]


def find_user(id_or_email: str) -> Document | None:
    """Return the user with this id or e-mail address, or None. The text is as a person typed it."""
    name = id_or_email.strip()
    if _ID.fullmatch(name):
        return repository.find_user(ObjectId(name))
    return repository.find_user_by_email(normal_email(name) or name.lower())


def recipients(ids: Collection[ObjectId]) -> dict[ObjectId, Recipient]:
    """Return the addressee for each of these users who exists."""
    return {
        user["_id"]: Recipient(user["name"], user["email"], preferences.preferences_of(user))
        for user in repository.find_users(ids)
    }


def chosen_preferences(ids: Collection[ObjectId]) -> dict[ObjectId, Preferences]:
    """Return the preferences of those of these users who ever chose when letters go."""
    return {user["_id"]: preferences.preferences_of(user) for user in repository.find_choosers(ids)}


def _record_guessing(email: str, act: Act) -> None:
    # Only an address is recorded. Some people type their password into the address field, and attackers send escape
    # sequences that would act on an operator's screen.
    if not (_ADDRESS.fullmatch(email) and email.isprintable()):
        return
    after = {"failures": str(attempts.ALARM_FAILURES)}
    at = clock.now()
    record = audit_record(act, "login_failures", email, at=at, before=None, after=after)
    mongo.atomically(lambda session: insert_audit_records([record], session))
