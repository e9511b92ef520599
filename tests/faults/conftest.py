"""A bank in this process whose mail goes to a server that a test can make misbehave."""

from collections.abc import Iterator

import pytest
from flask import Flask
from pymongo.database import Database

from app.mail.smtp import mail
from app.mongo import Document
from config import Config
from tests.mail import SmtpServer, smtp_server


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with smtp_server() as server:
        yield server


@pytest.fixture
def mail_app(app: Flask, config: Config, database: Database[Document]) -> Iterator[Flask]:
    """The bank with an application context and mail settings that a test sets with `use`."""
    with app.app_context():
        yield app
    mail.configure(app, config.mail)
