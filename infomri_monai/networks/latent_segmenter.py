"""The latent-variable task model of InfoMRI: a distribution of coherent segmentations from one undersampled measurement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from infomri_monai.networks.latent import LatentDistribution
from infomri_monai.networks.task_model import (
    TaskModel,
    TaskPass,
    TaskPosterior,
    autoencoder_blocks,
    encoder_input,
    image_channels,
    pad_to_multiple,
    start_at_frequencies,
)

__all__ = ["LatentSegmenter"]


class LatentSegmenter(TaskModel):
    """Measurement encoder, latent prior and posterior, task decoder, and auxiliary reconstruction (equations 18 to 25).

    ``encoder`` is E_y, ``posterior_encoder`` E_t, ``latent`` holds D_z and the distributions, ``task_decoder`` is D_t and
    ``reconstruction_decoder`` D_x, which sees the prior's mean. MONAI's ``autoencoderkl`` blocks throughout.

    The posterior is either the paper's, D_z(E_t(y, t)) with the D_z of the prior, or a correction of the prior in the prior's
    own units (Vahdat and Kautz): mean mu + sigma delta and variance sigma^2 exp(nu), with (delta, nu) from a few convolutions
    that compare the features of E_t and E_y and start at zero. In the paper's form the KL term also shrinks the prior's mean,
    and a network that has not yet learned what the measurement says may never learn it; in the other the KL, sum of
    (delta^2 + exp(nu) - nu - 1) / 2, is the posterior's affair alone, and the measurement reaches the task decoder from the
    first step.

    With ``decode_mean`` a training pass also decodes the prior's mean, for the loss's ``mean_task``: the likelihood of the label
    from the measurement alone. Else a small weight of the KL lets the label explain itself through the posterior, and the
    prior's mean learns little.

    With a ``noise_stride`` b above 1 the noise varies over blocks of b x b latent positions and is interpolated,
    z = mu(y) + up(sigma eps). The mean keeps its detail, and one coarse number moves a whole stretch of a boundary: what
    raters disagree about and what the measurement leaves open is smooth, and would cost a nat or more at every position of a
    fine grid.

    Args:
        num_classes: classes with the background, or labels if ``multi_label``.
        multi_label: independent binary labels instead of exclusive classes.
        channels: channels of every level; each level but the first halves the image. (128, 256, 512, 512) is the paper's.
        latent_channels: channels of z; 16 is the paper's.
        encoder_blocks: residual blocks of every encoder level; 2 is the paper's.
        decoder_blocks: residual blocks of every decoder level; 3 is the paper's.
        norm_num_groups: groups of the group normalisation; divides every entry of ``channels``.
        non_local: self-attention in the middle of every encoder and decoder (needs einops).
        samples: number of samples that ``forward`` averages.
        seed: seed of their noise; a non-negative integer.
        memory_budget: MiB that the decoder's features may take; more samples are decoded one part after the other.
        posterior_form: ``"correction"`` or ``"paper"``, see above.
        noise_stride: side of the blocks of latent positions that share their noise; 1 is the paper's.
        initial_log_variance: of the prior before training, within (-8, 8). The means start with a spread below 1: less noise
            lets the measurement through sooner, more keeps the posterior from collapsing onto the prior.
        decode_mean: let training passes decode the prior's mean too, at the cost of one more pass of the task decoder.
        training_parts: hold the posterior encoder. Without it (inference) the network cannot be trained.
        reconstruction: hold the reconstruction decoder; without it, a state dict that holds one is loaded all the same.
        class_frequencies: share of every class in the training set, where the untrained network starts; None: all alike.
        real_valued: images are real: k-space is completed by conjugate symmetry before it is encoded.
        magnitude_input: also show the encoders the magnitude of the zero-filled image; the paper's see its two parts alone.
        log_variance_bounds: soft bounds of the reconstruction's log-variance, for an image with maximum 1 (decision 13).

    Raises:
        ValueError: if there are too few classes, ``samples`` < 1, ``seed`` < 0, ``memory_budget`` <= 0, ``norm_num_groups``
            does not divide ``channels``, or the posterior's arguments are outside their ranges.

    References:
        InfoMRI (2026), III-D. Rombach et al., "High-resolution image synthesis with latent diffusion models", CVPR 2022 (the
        blocks). Kohl et al., "A probabilistic U-Net", NeurIPS 2018 (conditional prior and posterior). Vahdat and Kautz, "NVAE",
        NeurIPS 2020, section 3.2 (the correction). Sohn et al., "Learning structured output representation using deep conditional
        generative models", NIPS 2015, section 4.2 (a second likelihood that sees no label).

    Example:
        >>> import torch
        >>> net = LatentSegmenter(num_classes=3, channels=(8, 8), samples=4).eval()
        >>> net(torch.rand(1, 2, 15, 16)).shape
        torch.Size([1, 5, 15, 16])
        >>> net.posterior(torch.rand(2, 2, 16, 16), samples=6).samples.shape
        torch.Size([2, 6, 2, 16, 16])
    """

    def __init__(
        self,
        num_classes: int = 2,
        multi_label: bool = False,
        channels: Sequence[int] = (16, 32, 64),
        latent_channels: int = 8,
        encoder_blocks: int = 1,
        decoder_blocks: int = 1,
        norm_num_groups: int = 8,
        non_local: bool = False,
        samples: int = 16,
        seed: int = 0,
        memory_budget: float = 256.0,
        posterior_form: str = "correction",
        noise_stride: int = 1,
        initial_log_variance: float = -2.0,
        decode_mean: bool = False,
        training_parts: bool = True,
        class_frequencies: Sequence[float] | None = None,
        reconstruction: bool = True,
        real_valued: bool = False,
        magnitude_input: bool = True,
        log_variance_bounds: tuple[float, float] = (-9.2, 1.6),
    ) -> None:
        super().__init__(num_classes, multi_label, samples, seed, real_valued)
        self.magnitude_input = magnitude_input
        channels = tuple(channels)
        if memory_budget <= 0:
            raise ValueError(f"memory_budget must be > 0 MiB, got {memory_budget}.")
        if any(c % norm_num_groups for c in channels):
            raise ValueError(f"norm_num_groups={norm_num_groups} must divide every entry of channels, got {channels}.")
        encoder, decoder = autoencoder_blocks(channels, norm_num_groups, non_local, encoder_blocks, decoder_blocks)
        both = 2 * latent_channels
        self.encoder = encoder(in_channels=2 + magnitude_input, out_channels=both)
        seen = 2 + magnitude_input + self.structures
        self.posterior_encoder = encoder(in_channels=seen, out_channels=both) if training_parts else None
        self.latent = LatentDistribution(
            latent_channels, posterior_form, noise_stride, initial_log_variance, channels[-1], training_parts
        )
        self.task_decoder = decoder(in_channels=latent_channels, out_channels=num_classes)
        of_image = decoder(in_channels=latent_channels, out_channels=3) if reconstruction else None
        self.reconstruction_decoder = of_image
        if not reconstruction:  # a trained network's file fits all the same, also where it is loaded strictly (exports)
            self.register_load_state_dict_pre_hook(_without_reconstruction)
        self.latent_channels, self.decode_mean = latent_channels, decode_mean
        self.reduction = 2 ** (len(channels) - 1)
        self.multiple = self.reduction * noise_stride
        self.keep_option("noise_stride", noise_stride)
        # a residual block holds about eight maps of the widest level at once, in float32
        self.samples_per_pixel = memory_budget * 2**20 / (8 * 4 * channels[0])
        start_at_frequencies(self.task_decoder, class_frequencies, multi_label)
        self.log_variance_low, self.log_variance_high = float(log_variance_bounds[0]), float(log_variance_bounds[1])

    def forward(self, zero_filled: Tensor) -> Tensor:
        """Average ``samples`` segmentations of seed ``seed``; this is what is exported.

        Args:
            zero_filled: real and imaginary part, shape (batch, 2, H, W), any intensity.

        Returns:
            Mean class probabilities (C channels), their entropy in nats, and the mutual information in nats, shape
            (batch, C + 2, H, W).
        """
        zero_filled = self.completed(zero_filled)
        mean, scale = self._prior(encoder_input(zero_filled, self.multiple, self.magnitude_input))
        # one seed for all: an image's answer does not depend on its place in the batch
        seeds = torch.full([zero_filled.shape[0]], self.seed, dtype=torch.int64, device=zero_filled.device)
        height, width = zero_filled.shape[2], zero_filled.shape[3]
        part = self._part(mean)
        total, entropy = self._sums(self._decode(mean, scale, seeds, 0, min(part, self.samples)))
        for first in range(part, self.samples, part):
            more = self._sums(self._decode(mean, scale, seeds, first, min(part, self.samples - first)))
            total, entropy = total + more[0], entropy + more[1]
        total, entropy = total[:, :, :height, :width], entropy[:, :, :height, :width]
        return torch.cat(self.averages(total, entropy, self.samples), dim=1)

    @torch.jit.unused
    def posterior(
        self, zero_filled: Tensor, samples: int, generator: torch.Generator | None = None, shared_noise: bool = False
    ) -> TaskPosterior:
        """Draw segmentations (Algorithm 3, steps for the task): one encoder pass, the decoder in parts of bounded memory.

        Args:
            zero_filled: real and imaginary part, shape (batch, 2, H, W).
            samples: number of samples K, at least 1.
            generator: source of the noise's seeds; None takes ``seed``.
            shared_noise: the k-th sample of every image has the same noise, so that neighbouring slices agree.

        Raises:
            ValueError: if ``samples`` < 1.
        """
        self.check_samples(samples)
        zero_filled = self.completed(zero_filled)
        batch, _, height, width = zero_filled.shape
        mean, scale = self._prior(encoder_input(zero_filled, self.multiple, self.magnitude_input))
        seeds = self._seeds(batch, generator, shared_noise, zero_filled.device)
        masks = []
        total = entropy = torch.zeros(())
        for first in range(0, samples, self._part(mean)):
            part = self._decode(mean, scale, seeds, first, min(self._part(mean), samples - first))
            part = part[..., :height, :width]
            masks.append(self.structure_masks(part))
            sums = self._sums(part)
            total, entropy = total + sums[0], entropy + sums[1]
        probabilities, uncertainty, information = self.averages(total, entropy, samples)
        majority = self.structure_masks(probabilities)
        return TaskPosterior(torch.cat(masks, 1), majority, probabilities, uncertainty, information)

    @torch.jit.unused
    def training_pass(
        self, zero_filled: Tensor, label: Tensor, generator: torch.Generator | None = None, mask: Tensor | None = None
    ) -> TaskPass:
        """One sample of the posterior, decoded (Algorithm 2).

        Args:
            zero_filled: real and imaginary part, shape (batch, 2, H, W).
            label: structure masks of one rater, 0/1, shape (batch, S, H, W).
            generator: source of the sample's randomness.
            mask: 0/1, broadcasts to (batch, 1, H, W), for ``real_valued`` only; None recovers it, without its gradient.

        Raises:
            ValueError: if ``label`` does not fit, or the network holds no training parts.
        """
        if self.posterior_encoder is None or self.reconstruction_decoder is None:
            raise ValueError("the network was built without training_parts or reconstruction and cannot be trained.")
        batch, _, height, width = zero_filled.shape
        if tuple(label.shape) != (batch, self.structures, height, width):
            expected = (batch, self.structures, height, width)
            raise ValueError(f"label must have shape {expected} like the image, got {tuple(label.shape)}.")
        zero_filled = self.completed(zero_filled, mask)
        measured = encoder_input(zero_filled, self.multiple, self.magnitude_input)
        seen = torch.cat([measured, pad_to_multiple(label.to(measured.dtype), self.multiple)], dim=1)
        mean, prior, posterior = self.latent.both(self.encoder(measured), self.posterior_encoder(seen))
        z = self.latent.sample(mean, prior, posterior, generator)
        logits = self.task_decoder(torch.cat([z, mean]) if self.decode_mean else z)[:, :, :height, :width].float()
        of_mean = logits[batch:] if self.decode_mean else None
        return TaskPass(logits[:batch], *prior, *posterior, self._image(mean, zero_filled), of_mean)

    @torch.jit.unused
    def reconstruct(self, zero_filled: Tensor) -> Tensor:
        """The auxiliary reconstruction (equation 22) from the prior's mean.

        Args:
            zero_filled: real and imaginary part, shape (batch, 2, H, W).

        Returns:
            Mean (real, imaginary) and log-variance per real component, shape (batch, 3, H, W), in the input's units.

        Raises:
            ValueError: if the network holds no reconstruction decoder.
        """
        zero_filled = self.completed(zero_filled)
        mean, _ = self._prior(encoder_input(zero_filled, self.multiple, self.magnitude_input))
        return self._image(mean, zero_filled)

    @torch.jit.unused
    def inference_state(self) -> dict[str, Tensor]:
        """The state dict without what is only needed in training."""
        return {k: v for k, v in self.state_dict().items() if "posterior_" not in k}

    def _image(self, mean: Tensor, zero_filled: Tensor) -> Tensor:
        if self.reconstruction_decoder is None:
            raise ValueError("the network was built with reconstruction=False.")
        bounds = (self.log_variance_low, self.log_variance_high)
        return image_channels(self.reconstruction_decoder(mean), zero_filled, bounds, self.real_valued)

    def _seeds(self, batch: int, generator: torch.Generator | None, shared: bool, device: torch.device) -> Tensor:
        if generator is None:
            return torch.full((batch,), self.seed, dtype=torch.int64, device=device)
        drawn = torch.randint(2**31 - 2, (1 if shared else batch,), generator=generator, device=generator.device)
        return drawn.to(device).expand(batch)

    def _prior(self, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of q(z|y) at every latent position, and its standard deviation in every block."""
        return self.latent.prior(self.encoder(measured))

    def _part(self, mean: Tensor) -> int:
        """Samples that the memory budget lets decode at once."""
        pixels = mean.shape[0] * mean.shape[2] * mean.shape[3] * self.reduction**2
        return max(1, int(self.samples_per_pixel / pixels))

    def _decode(self, mean: Tensor, scale: Tensor, seeds: Tensor, first: int, samples: int) -> Tensor:
        """Class probabilities of some samples, (batch, samples, C, H, W)."""
        logits = self.task_decoder(self.latent.draw(mean, scale, seeds, first, samples))
        return self.probabilities(logits).unflatten(0, [mean.shape[0], samples])

    def _sums(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over samples of the probabilities and of their entropies."""
        return probabilities.sum(1), self.pixel_entropy(probabilities).sum(1)


def _without_reconstruction(module: nn.Module, state: dict[str, Tensor], prefix: str, *others: object) -> None:
    """Leave the reconstruction decoder of a state dict, which is about to be loaded, out."""
    for name in [name for name in state if name.startswith(f"{prefix}reconstruction_decoder.")]:
        del state[name]
