"""The options of sections augment, init and loss, all off: what an experiment changes, it names.

They stand in every experiment so that a command line can turn them on, for example
`--config.augment.rotation_range=-10,10 --config.loss.ohem_fraction=0.25`.
"""

AUGMENT = {
    "scale_range": (1.0, 1.0),
    "scales": (),
    "rotation_range": (0.0, 0.0),
    "max_class_share": 1.0,
    "flip_prob": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "blur_prob": 0.0,
    "blur_sigma_range": (0.1, 2.0),
    "num_threads": 2,
    "num_workers": 0,
}

INIT = {"workdir": "", "step": "last", "weights": "", "leave": ()}

LOSS = {
    "class_weights": (),
    "ohem_fraction": 1.0,
    "cross_entropy_weight": 1.0,
    "dice_weight": 0.0,
}
