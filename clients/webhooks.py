"""The part of the journey about webhooks."""

from clients.steps import Step, refused, says

_WEBHOOK = {"webhookId": "{{webhookId}}"}
WEBHOOKS = [
    Step(
        "Asha's shop is to be told",
        "createWebhook",
        201,
        {"url": "http://127.0.0.1:9999/hook", "types": ["money.received"]},
        keeps={"webhookId": "body.webhook.id"},
        checks=('body.secret.startsWith("whsec_")', says("webhook.status", "ACTIVE")),
    ),
    Step(
        "It cannot be inside the bank's network",
        "createWebhook",
        422,
        {"url": "https://10.0.0.1/"},
        checks=refused("webhook_url_refused"),
    ),
    Step("Asha's webhooks", "listWebhooks", 200, checks=("body.webhooks.length === 1",)),
    Step(
        "It is told of everything now",
        "changeWebhook",
        200,
        {"types": ["*"]},
        path=_WEBHOOK,
        checks=('body.webhook.types[0] === "*"',),
    ),
    Step("The webhook", "getWebhook", 200, path=_WEBHOOK, checks=("body.webhook.lastDelivery === null",)),
    Step("Ben sees none", "getWebhook", 404, token="benToken", path=_WEBHOOK, checks=refused("webhook_not_found")),
    Step("A ping", "pingWebhook", 202, path=_WEBHOOK, keeps={"deliveryId": "body.delivery.id"}),
    Step(
        "Its deliveries",
        "listDeliveries",
        200,
        path=_WEBHOOK,
        query={"limit": "5"},
        checks=(says("deliveries[0].type", "webhook.ping"),),
    ),
    Step("The ping again", "resendDelivery", 202, path={**_WEBHOOK, "deliveryId": "{{deliveryId}}"}),
    Step("What happened since", "replayEvents", 202, {"after": "{{place}}"}, path=_WEBHOOK),
    Step("Another secret", "rotateWebhookSecret", 200, path=_WEBHOOK, checks=('body.secret.startsWith("whsec_")',)),
    Step("No more of it", "deleteWebhook", 204, path=_WEBHOOK),
]
