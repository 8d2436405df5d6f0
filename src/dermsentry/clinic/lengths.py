"""How many characters a text may have that people and programs give the clinic, wherever it comes in."""

from __future__ import annotations

PATIENT = LESION = SITE = 120
NOTE = 4000
ACCESSION = 64
REASON = 1000
"""Of a correction: why it was made."""
TAG = 40
OTHER_DIAGNOSIS = 120
"""Of a diagnosis in words, that is none of the nine."""
FILE_NAME = 255
ACCOUNT = 80
FULL_NAME = 200
OPENID_SUBJECT = 255
"""Of a person at an OpenID provider: `sub` (OpenID Connect Core 1.0, 2)."""
TOKEN_LABEL = 120
RULE = 80
ADDRESS = 500
"""Of an e-mail's receiver, or a webhook's URL."""
CODE = 20
"""Of a role, a diagnosis, what is to be done, how an outcome is known."""
SUBJECT, ACTION = 120, 60
"""Of an event of the audit trail."""
SEARCH = 120
"""Of what cases are searched for."""
CURSOR = 600
"""Of the place in a list where its next page begins."""
