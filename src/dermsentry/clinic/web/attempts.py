"""How many failed sign-ins are let in, so that nobody guesses for long, and nobody shuts another out.

An account is never locked as such: whoever knows a name could do that to the only administrator. Attempts are
counted where they come from, by account and address together, and by address. A browser in which the account
signed in before has a count of its own, which strangers cannot fill (OWASP, "Device Cookies"). Over all
addresses an account takes 100 failures a day (NIST SP 800-63B, 5.2.2); beyond those, only from such a browser
and from addresses where it has signed in before.
"""

from __future__ import annotations

import ipaddress
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

ATTEMPTS, WINDOW_S = 5, 300
ATTEMPTS_OF_ADDRESS = 50
"""A clinic's people often share one address."""
ATTEMPTS_OF_ACCOUNT, DAY_S = 100, 24 * 3600
MOST_REMEMBERED = 10_000


@dataclass
class Attempts:
    """How often something failed lately; `most` may in `window_s` seconds."""

    most: int = ATTEMPTS
    window_s: float = WINDOW_S
    failed: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    lock: Lock = field(default_factory=Lock)

    def enter(self, who: str) -> int:
        """Seconds until another attempt is allowed; 0 where it is now.

        Then it counts as one that failed, until it is taken back: of many at once no more are let in.
        """
        with self.lock:
            moment = time.monotonic()
            wait = self._wait(who, moment)
            if not wait:
                self.failed[who].append(moment)
                if len(self.failed) > MOST_REMEMBERED:  # names that a stranger made up
                    self._forget(moment)
            return wait

    def take_back(self, who: str) -> None:
        """The last attempt did not fail."""
        with self.lock:
            if self.failed.get(who):
                self.failed[who].pop()

    def clear(self, who: str) -> None:
        """Forget: the sign-in succeeded."""
        with self.lock:
            self.failed.pop(who, None)

    def _wait(self, key: str, moment: float) -> int:
        times = self.failed.get(key)
        while times and moment - times[0] > self.window_s:
            times.popleft()
        if not times or len(times) < self.most:
            return 0
        return max(1, round(self.window_s - (moment - times[0])))

    def _forget(self, moment: float) -> None:
        """Keep the half that failed most often, and of those that failed equally often the latest."""
        for key in list(self.failed):
            self._wait(key, moment)
        kept = sorted(self.failed, key=lambda key: (len(self.failed[key]), (self.failed[key] or (0.0,))[-1]))
        for key in kept[: -MOST_REMEMBERED // 2]:
            del self.failed[key]


@dataclass(frozen=True)
class Visitor:
    """Who tries to sign in: as which account, from which address, in a browser that is known by `device`."""

    name: str
    address: str
    device: str = ""


@dataclass(frozen=True)
class Gate:
    """Failed sign-ins, by where they come from."""

    addresses: Attempts = field(default_factory=lambda: Attempts(most=ATTEMPTS_OF_ADDRESS))
    pairs: Attempts = field(default_factory=Attempts)
    devices: Attempts = field(default_factory=Attempts)
    accounts: Attempts = field(default_factory=lambda: Attempts(ATTEMPTS_OF_ACCOUNT, DAY_S))

    def enter(self, visitor: Visitor, been_here: Callable[[], bool] = lambda: False) -> int:
        """Seconds until another attempt is allowed; 0 if now, and then it counts until `passed`.

        `been_here`: whether the account has signed in from this address before; asked where that matters.
        """
        entered: list[tuple[Attempts, str]] = []
        for attempts, key in self._counts(visitor):
            wait = attempts.enter(key)
            if wait and not (attempts is self.accounts and been_here()):
                for earlier, own in entered:
                    earlier.take_back(own)
                return wait
            if not wait:
                entered.append((attempts, key))
        return 0

    def take_back(self, visitor: Visitor) -> None:
        """The attempt could not be made."""
        for attempts, key in self._counts(visitor):
            attempts.take_back(key)

    def passed(self, visitor: Visitor) -> None:
        """The attempt did not fail. What failed at the account elsewhere is not forgotten by that."""
        for attempts, key in self._counts(visitor):
            if attempts is self.pairs or attempts is self.devices:
                attempts.clear(key)
            else:
                attempts.take_back(key)

    def _counts(self, visitor: Visitor) -> list[tuple[Attempts, str]]:
        if visitor.device:
            return [(self.devices, f"{visitor.device} {visitor.name}")]
        place = network(visitor.address)
        return [
            (self.addresses, place),
            (self.pairs, f"{place} {visitor.name}"),
            (self.accounts, visitor.name),
        ]


def network(address: str) -> str:
    """An address, or the /64 of one of IPv6: its owner has all the others of that too."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address


def in_words(wait_s: int) -> str:
    """How long somebody must wait, and what else they can do."""
    minutes = -(-wait_s // 60)
    time_left = f"{minutes} min" if minutes <= 120 else f"{-(-minutes // 60)} h"
    return (
        f"Too many failed attempts. Try again in {time_left}. A browser in which you have signed in before "
        "is not affected by the attempts of others."
    )
