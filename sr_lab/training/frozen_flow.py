"""Motion first, then its estimation: the flow of a network for clips stays as it is for the first steps."""

from collections.abc import Iterable, Sequence

import pytorch_lightning as pl

from sr_lab.base.words import counted
from sr_lab.networks.temporal.base import ClipNetwork
from sr_lab.training.base import Batch, TrainingModule


class FrozenFlow(pl.Callback):
    """Keeps the flow network's weights for the first optimizer steps, as BasicVSR's authors do.

    Which weights move depends on the step alone, so that a resumed run goes on alike. In blocks of steps
    (``data.steps_per_batch``) the first block that begins at or after ``steps`` trains them.

    Args:
        steps: Optimizer steps.

    Raises:
        ValueError: If ``steps`` is below 0.
    """

    def __init__(self, *, steps: int) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"steps={steps}: must be at least 0")
        self.steps = steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Looks whether there is a flow to train.

        Raises:
            ValueError: If the network has none.
        """
        assert isinstance(pl_module, TrainingModule)
        network = pl_module.network
        if not isinstance(network, ClipNetwork) or not any(True for _ in network.motion.parameters()):
            raise ValueError(
                f"callbacks=[frozen_flow]: {type(network).__name__} has no flow that is trained; leave it out "
                f"(it would have held it for {counted(self.steps, 'step')})"
            )

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch | Iterable[Sequence[Batch]],
        batch_idx: int,
    ) -> None:
        """Freezes, or lets go."""
        network = pl_module.network
        assert isinstance(network, ClipNetwork)
        network.motion.requires_grad_(trainer.global_step >= self.steps)
