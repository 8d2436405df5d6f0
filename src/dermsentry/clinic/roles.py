"""The roles that an account can have, from the least to the most."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["uploader", "dermatologist", "administrator"]
ROLES: tuple[Role, ...] = get_args(Role)
