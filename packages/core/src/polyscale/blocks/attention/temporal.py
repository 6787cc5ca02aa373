"""EventTemporalAttention and SmallObjectAttentionModule, from the eTram-rvt notes.

What differs from the notes: their code kept the previous frame in a buffer of the module, so the frames of one video,
batch or data set were compared with those of another, and only 2 of its 3 temporal taps ever saw a frame. Here the past
is an argument and a result, one row per stream, like the state of an LSTM. There gates multiplied the current frame;
here what the taps find is gated and added, with a scale that starts at 0: a network with attention equals the one
without it at step 0.

    B streams, T time steps, C channels, K temporal window
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_count, check_map
from polyscale.blocks.attention.multiscale import MultiScaleSpatialAttention


class EventTemporalAttention(nn.Module):
    """x + scale * motion * weights * pattern: what changes over K frames, where it moves, in the channels that matter.

    - pattern [B, C, H, W]: a temporal convolution over the last K frames (the notes' Conv3d with kernel (K, 1, 1));
    - motion [B, 1, H, W] in (0, 1): from the current and the previous frame side by side;
    - weights [B, C, 1, 1] in (0, 1): squeeze and excitation of the pattern.

    A stream without a past (at the first step and after a reset) sees its first frame as if it had been there before:
    no motion, rather than everything moving.

    Args:
        channels: C.
        temporal_window: K, frames seen at once, the current one included; at least 2.

    Raises ValueError for bad counts, a wrong channel count, and a state or reset of another batch or size.
    """

    def __init__(self, channels: int, temporal_window: int = 3) -> None:
        super().__init__()
        check_count("channels", channels)
        check_count("temporal_window", temporal_window, least=2)
        self.channels = channels
        self.temporal_window = temporal_window
        self.pattern = nn.Conv2d(temporal_window * channels, channels, 1)  # of frames side by side: the Conv3d
        self.motion = nn.Conv2d(2 * channels, 1, 3, padding=1)
        hidden = max(4, channels // 4)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, state: Tensor | None = None, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One time step.

        Args:
            x: [B, C, H, W].
            state: [B, (K - 1) * C, H, W] as returned by the step before, row i from the stream of row i of x; None
                where every stream begins. Detach it where the gradient shall end.
            reset: bool [B], True where a stream begins with x: its row of `state` is not looked at.

        Returns:
            (out [B, C, H, W], state for the next step).
        """
        window = self._window(x, state, reset)
        return self._attend(window), window[:, self.channels :]

    def sequence(self, x: Tensor, state: Tensor | None = None, reset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """T time steps in one pass, equal to T calls.

        Args:
            x: [T, B, C, H, W].
            state: as in `forward`, before the first step.
            reset: bool [T, B].

        Returns:
            (out [T, B, C, H, W], state after the last step).
        """
        if x.ndim != 5 or not len(x):
            raise ValueError(f"x must be [T, B, {self.channels}, H, W] with T of at least 1, got {list(x.shape)}")
        if reset is not None and reset.shape[:1] != x.shape[:1]:
            raise ValueError(f"reset must be bool {list(x.shape[:2])}, got {list(reset.shape)}")
        windows = []
        for step, frame in enumerate(x):
            windows.append(self._window(frame, state, None if reset is None else reset[step]))
            state = windows[-1][:, self.channels :]
        assert state is not None
        return self._attend(torch.cat(windows)).unflatten(0, x.shape[:2]), state

    def _window(self, x: Tensor, state: Tensor | None, reset: Tensor | None) -> Tensor:
        """[B, K * C, H, W]: the past and x, oldest first."""
        check_map(x, self.channels)
        past = self.temporal_window - 1
        beginning = x.repeat(1, past, 1, 1)
        if reset is not None and (reset.dtype != torch.bool or reset.shape != x.shape[:1]):
            raise ValueError(f"reset must be bool [{x.shape[0]}], got {reset.dtype} {list(reset.shape)}")
        if state is None:
            return torch.cat([beginning, x], dim=1)
        if state.shape != beginning.shape:
            raise ValueError(
                f"state must be {list(beginning.shape)}, one row per stream, got {list(state.shape)}: give None where "
                f"all streams begin"
            )
        state = state.to(x.dtype)
        if reset is not None:
            state = torch.where(reset[:, None, None, None], beginning, state)
        return torch.cat([state, x], dim=1)

    def _attend(self, window: Tensor) -> Tensor:
        x = window[:, -self.channels :]
        pattern = self.pattern(window)
        weights = self.excite(F.relu(self.squeeze(pattern.mean(dim=(2, 3))))).sigmoid()
        gate = self.motion(window[:, -2 * self.channels :]).sigmoid()
        return torch.addcmul(x, (pattern * gate).to(x.dtype), (weights[..., None, None] * self.scale).to(x.dtype))


class SmallObjectAttentionModule(nn.Module):
    """(x, state, reset) -> (out, state): spatial attention, then temporal attention, then a 1x1 convolution.

    Args:
        channels: C.
        enable_spatial: use MultiScaleSpatialAttention(channels, scales).
        enable_temporal: use EventTemporalAttention(channels, temporal_window); without it the state is None.
        scales, temporal_window: see there.

    With both parts the convolution joins them; it is a residual that starts at 0. Raises ValueError as the parts do,
    and where no part is enabled.
    """

    def __init__(
        self,
        channels: int,
        enable_spatial: bool = True,
        enable_temporal: bool = True,
        scales: Sequence[int] = (1, 2, 4),
        temporal_window: int = 3,
    ) -> None:
        super().__init__()
        if not enable_spatial and not enable_temporal:
            raise ValueError("enable_spatial and enable_temporal are both False: use nn.Identity, or no module at all")
        self.spatial = MultiScaleSpatialAttention(channels, scales) if enable_spatial else None
        self.temporal = EventTemporalAttention(channels, temporal_window) if enable_temporal else None
        self.integrate = nn.Conv2d(channels, channels, 1) if enable_spatial and enable_temporal else None
        if self.integrate is not None:
            nn.init.zeros_(self.integrate.weight)
            nn.init.zeros_(self.integrate.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, state: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """One time step: shapes, state and reset as in EventTemporalAttention.forward."""
        if self.spatial is not None:
            x = self.spatial(x)
        if self.temporal is None:
            return x, None
        x, state = self.temporal(x, state, reset)
        return (x if self.integrate is None else x + self.integrate(x)), state

    def sequence(
        self, x: Tensor, state: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """T time steps in one pass, equal to T calls: shapes, state and reset as in EventTemporalAttention.sequence."""
        if self.spatial is not None:
            x = self.spatial(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if self.temporal is None:
            return x, None
        x, state = self.temporal.sequence(x, state, reset)
        if self.integrate is not None:
            x = x + self.integrate(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x, state
