"""The OpenAPI document, collected from the routes."""

from typing import Any

import flask_smorest

from app.fields import property_names
from app.http.problems import ProblemSchema


class Api(flask_smorest.Api):
    """Collects the OpenAPI document; leaves errors to `problems`."""

    DEFAULT_ERROR_RESPONSE_NAME = ""
    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        pass

    def _init_spec(self, **kwargs: Any) -> None:
        super()._init_spec(**kwargs)
        self.ma_plugin.converter.add_attribute_function(property_names)

    def _register_pagination_header(self) -> None:
        pass


api = Api()
