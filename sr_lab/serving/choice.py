"""Which models may answer a request: by its name, the route, the tier and the scale that it asks for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from sr_lab.base.words import counted
from sr_lab.images.files import Picture
from sr_lab.serving.asking import TIERS, Ask
from sr_lab.serving.models import Served
from sr_lab.serving.pictures import Facts
from sr_lab.serving.problems import Problem
from sr_lab.serving.routes import Asked, Route
from sr_lab.serving.shelf import Shelf

log = logging.getLogger(__name__)


class ModelChoice:
    """Chooses among the models of a shelf.

    Args:
        shelf: The models; the first one answers where a request names none.
        fast: Name of the model of the tier ``fast``; None: there is no such tier.
        route: What chooses where the request names none.
    """

    def __init__(self, shelf: Shelf, *, fast: str | None = None, route: Route | None = None) -> None:
        self.shelf, self.fast, self.route = shelf, fast, route
        self.main = shelf.names[0]

    async def __call__(
        self, ask: Ask, facts: Facts, deadline: float, decoded: Callable[[], Awaitable[Picture]]
    ) -> tuple[list[tuple[str, Served]], Picture | None]:
        """Tiers with their models, the preferred one first; and the image, where the route has looked at it.

        Args:
            ask: What is asked for.
            facts: Of its image.
            deadline: Seconds in which it is to be answered.
            decoded: Decodes the image.

        Raises:
            Problem: If there is no such model, or none that takes this image.
        """
        if ask.tier not in TIERS:
            raise Problem(400, f"tier={ask.tier}: one of {', '.join(TIERS)}", kind="tier")
        name, low = ask.model, None
        if name is None and self.route is not None:
            asked = Asked(facts=facts, plan=ask.caller.plan, deadline=deadline, scale=ask.scale)
            if self.route.needs_pixels:
                low = await decoded()
                asked = replace(asked, low=low.colours)
            name = self.route.choose(asked)
        if name is None and ask.scale is not None:
            name = await asyncio.to_thread(self._of_scale, ask.scale)
        name = name or self.main
        if name not in self.shelf.names:
            raise Problem(404, f"there is no model {name}: one of {', '.join(self.shelf.names)}", kind="model")
        best = await self.loaded(name)
        if ask.scale not in (None, best.scale):
            raise Problem(
                422, f"the model {name} enlarges by {best.scale}, and scale={ask.scale} is asked for", kind="scale"
            )
        tiers = [("best", best)]
        if self.fast is not None and ask.model in (None, self.main):
            fast = await self.loaded(self.fast)
            if fast.scale == best.scale:
                tiers.append(("fast", fast))
        if ask.tier == "fast" and len(tiers) == 1:
            raise Problem(422, f"there is no fast model for {name}: tier=best or auto", kind="tier")
        chosen = [pair for pair in tiers if ask.tier in ("auto", pair[0]) and pair[1].takes(facts.channels)]
        if not chosen:
            raise Problem(
                422,
                f"{best.label} restores {counted(best.num_channels, 'channel')}, the image has {facts.channels}",
                kind="bands",
            )
        if ask.consistency is None:
            return chosen, low
        try:
            return [(tier, model.consistent) for tier, model in chosen], low
        except ValueError as error:
            raise Problem(422, f"consistency={ask.consistency}: {error}", kind="consistency") from None

    async def loaded(self, name: str) -> Served:
        """A model of the shelf; one that is not loaded yet is loaded beside the event loop.

        Raises:
            Problem: If there is none of that name, or it cannot be loaded.
        """
        state = self.shelf.at_hand(name)
        return state if state is not None else await asyncio.to_thread(self._get, name)

    def _of_scale(self, scale: int) -> str | None:
        """The first model that enlarges so; a lazy one is loaded to be asked."""
        return next((each for each in self.shelf.names if self._get(each).scale == scale), None)

    def _get(self, name: str) -> Served:
        try:
            return self.shelf.get(name)
        except KeyError:
            raise Problem(404, f"there is no model {name}", kind="model") from None
        except Exception as error:
            log.exception("%s cannot be loaded", name)
            raise Problem(503, f"the model {name} cannot be loaded", kind="model") from error
