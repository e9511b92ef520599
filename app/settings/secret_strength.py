"""Checks whether a secret in the settings could be guessed: too short, too regular, or published."""

import re
from itertools import pairwise

from zxcvbn import zxcvbn

SECRET_BYTES_MIN = 32
# Of 32 random bytes, about 30 are distinct, and so are about 30 of the differences between neighbours.
KEY_DISTINCT_BYTES_MIN = 16
# As zxcvbn estimates it. 32 random hexadecimal digits reach about 32; keyboard rows and alphabets reach only a few.
GUESSES_LOG10_MIN = 22.0
_KEY = re.compile(r"[0-9a-fA-F]{64}")
# Words of placeholders in tutorials. Such a secret may be long enough, but everybody knows it.
PLACEHOLDER_WORDS = ("change", "default", "example", "fincore", "password", "placeholder", "secret", "your")
# Published keys, in lower case. Attackers try them first.
PUBLISHED = frozenset(
    {
        # RFC 8032, section 7: Ed25519's test vectors.
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6",
        "ab9c2853ce297ddab85c993b3ae14bcad39b2c682beabc27d6d4eb20711d6560",
        # RFC 8410 and RFC 9421: example keys.
        "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842",
        "9f8362f87a484a954e6e740c5b4c0e84229139a20aa8ab56ff66586f6a7d29c5",
        # RFC 7515 and RFC 7520: keys of HMAC examples.
        "aym1sysppbydfgzld3umj1qzkobwvmkoqq-estjqlr_t-1qs0gzh75aktmn3yj0ips4hcguutwjazzr1z9caow",
        "hjtxiz2usn5kbqfbttnwbpdmhkv8fjg-onbc6mxccyg",
        # Keys from the documentation of FastAPI and Flask, and from tutorials that are often copied.
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
        "404e635266556a586e3272357538782f413f4428472b4b6250645367566b5970",
        "413f4428472b4b6250655368566d5970337336763979244226452948404d6351",
        "3cfa76ef14937c1c0ea519f8fc057a80fcd04a7420f8e8bcd0a7567c272e007b",
    }
)


def fault_of_secret(value: str) -> str | None:
    """Return why a secret text could be guessed, or None."""
    if len(value.encode()) < SECRET_BYTES_MIN:
        return f"It is shorter than {SECRET_BYTES_MIN} bytes."
    lower = value.lower()
    if any(known in lower for known in PUBLISHED):
        return "It has been published."
    if any(word in lower for word in PLACEHOLDER_WORDS):
        return "It looks like a placeholder."
    if _is_repetition(value) or float(zxcvbn(value[:72])["guesses_log10"]) < GUESSES_LOG10_MIN:
        return "It repeats itself or follows a pattern, and can be guessed."
    return None


def fault_of_key(value: str) -> str | None:
    """Return why a key of 32 bytes in hexadecimal could be guessed, or None."""
    if not _KEY.fullmatch(value):
        return "It is not 64 hexadecimal digits."
    if value.lower() in PUBLISHED:
        return "It has been published."
    key = bytes.fromhex(value)
    steps = {(later - earlier) % 256 for earlier, later in pairwise(key)}
    if min(len(set(key)), len(steps)) < KEY_DISTINCT_BYTES_MIN:
        return "It repeats itself or follows a pattern, and can be guessed."
    # 32 random bytes are practically never all printable ASCII. If they are, somebody typed a text.
    text = key.decode("ascii", "replace")
    return fault_of_secret(text) if text.isascii() and text.isprintable() else None


def _is_repetition(value: str) -> bool:
    # A text repeats a shorter one if and only if it occurs inside two copies of itself, other than at their starts.
    return value in (value + value)[1:-1]
