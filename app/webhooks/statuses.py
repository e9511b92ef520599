"""The statuses of webhooks and deliveries."""

from enum import StrEnum


class WebhookStatus(StrEnum):
    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"


class DeliveryStatus(StrEnum):
    """A delivery is PENDING until the receiver takes it, its retries end, or its webhook is disabled or deleted."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
