"""Flask extensions, unbound; `create_app` binds them."""

from flask_jwt_extended import JWTManager

from app.http import Api
from app.notifications.smtp import Mailer

api = Api()
jwt = JWTManager()
mail = Mailer()
