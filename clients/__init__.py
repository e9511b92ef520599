"""What is made from the API's description: the committed document, the Postman collection, clients."""
