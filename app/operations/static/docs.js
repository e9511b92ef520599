const container = document.getElementById("swagger-ui");

SwaggerUIBundle({
  url: container.dataset.document,
  domNode: container,
  deepLinking: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
});
