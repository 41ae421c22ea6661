"""MONAI transforms of the acquisition: to k-space, noise, masks, undersampling, zero-filled reconstruction."""
