"""The operator's commands for users: `flask --app wsgi users …`.

They use the same services as the API. The audit log records them under `cli:` and the operator's user name.
"""

import sys

import click
from flask import current_app

from app.admin import repository, service
from app.admin.schemas import ChangeRoleSchema
from app.auth import service as auth_service
from app.auth.roles import Role
from app.auth.schemas import RegisterSchema, UserSchema
from app.cli.terminal import LIST_LENGTH_MAX, OperatorGroup, checked, command_line_act, json_option, show, show_table
from app.errors import UserNotFound

LIST_LENGTH_DEFAULT = 50

group = OperatorGroup("users", help="Create and list users, and change their roles.")

_role = click.Choice([role.value for role in Role])


@group.command("create")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--role", type=_role, default=Role.USER.value, show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@json_option
def create_user(email: str, name: str, role: str, password_stdin: bool, as_json: bool) -> None:
    """Create a user. The command asks for the password, which is never an argument."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    user = auth_service.register(
        auth_service.NewUser(**checked(RegisterSchema(), {"email": email, "name": name, "password": password})),
        role=Role(role),
        policy=current_app.config["AUTH"],
        act=command_line_act(),
    )
    show(UserSchema().dump(user), as_json=as_json)


@group.command("promote")
@click.argument("user")
@click.option("--role", type=_role, default=Role.ADMIN.value, show_default=True)
@click.option("--reason", help="For the audit log.")
@json_option
def promote_user(user: str, role: str, reason: str | None, as_json: bool) -> None:
    """Give a user, named by id or e-mail address, another role."""
    wanted = checked(ChangeRoleSchema(), {"role": role, "reason": reason})
    found = auth_service.find_user(user)
    if found is None:
        raise UserNotFound
    changed = service.change_role(found["_id"], Role(wanted["role"]), act=command_line_act(wanted.get("reason")))
    show(UserSchema().dump(changed), as_json=as_json)


@group.command("list")
@click.option("--search", help="An id, or the start of a name or an e-mail address.")
@click.option("--limit", type=click.IntRange(1, LIST_LENGTH_MAX), default=LIST_LENGTH_DEFAULT, show_default=True)
@json_option
def list_users(search: str | None, limit: int, as_json: bool) -> None:
    """List users, newest first, or search for them."""
    if search:
        found = repository.search_users(service.search_for(search), after=None, limit=limit)
    else:
        found = repository.find_users(after=None, limit=limit)
    show_table(UserSchema(many=True).dump(found), ("id", "email", "name", "role", "createdAt"), as_json=as_json)
