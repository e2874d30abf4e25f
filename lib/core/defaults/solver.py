"""Options of the optimizer and of the learning-rate schedule."""

from fpt.core.option import Group, Option

SOLVER: Group = {
    "TYPE": Option("SGD", "Optimizer.", choices=("SGD", "Adam", "AdamW")),
    "BASE_LR": Option(0.001, "Learning rate at the original batch size.", low=0),
    "LR_POLICY": Option(
        "steps_with_decay",
        "How the learning rate falls: steps_with_decay (x GAMMA at each of STEPS), step (x GAMMA every STEP_SIZE), "
        "steps_with_lrs (LRS from each of STEPS), cosine and poly (to 0 at MAX_ITER).",
        choices=("steps_with_decay", "step", "steps_with_lrs", "cosine", "poly"),
    ),
    "GAMMA": Option(0.1, "Factor of each decay.", low=0, high=1),
    "STEP_SIZE": Option(30000, "Steps between decays of the policy `step`.", low=1),
    "STEPS": Option((), "Steps at which the rate changes.", low=0, element=int),
    "LRS": Option((), "Rates of steps_with_lrs, one for each of STEPS.", low=0, element=float),
    "POLY_POWER": Option(0.9, "Exponent of the policy `poly`.", low=0),
    "MAX_ITER": Option(40000, "Steps of the schedule at the original batch size.", low=1),
    "MOMENTUM": Option(0.9, "Momentum of SGD; beta1 of Adam and AdamW.", low=0, high=1),
    "WEIGHT_DECAY": Option(0.0005, "Weight decay of weights.", low=0),
    "WEIGHT_DECAY_GN": Option(0.0, "Weight decay of the parameters of normalisation layers.", low=0),
    "BIAS_DOUBLE_LR": Option(True, "Biases learn at twice the rate."),
    "BIAS_WEIGHT_DECAY": Option(False, "Weight decay of biases too."),
    "WARM_UP_ITERS": Option(500, "Steps of warm-up; 0 = none.", low=0),
    "WARM_UP_FACTOR": Option(1.0 / 3.0, "Share of the rate at which the warm-up starts.", low=0, high=1),
    "WARM_UP_METHOD": Option("linear", "How the rate rises.", choices=("linear", "constant")),
    "CLIP_GRAD_NORM": Option(0.0, "Scale gradients down to this norm; 0 = off.", low=0),
    "AMP": Option(
        "off",
        "Automatic mixed precision: bf16 (CPUs, newer GPUs), or fp16 with scaled gradients (GPUs).",
        choices=("off", "bf16", "fp16"),
    ),
    "EMA_DECAY": Option(
        0.0,
        "Keep an exponential moving average of the weights with this decay, such as 0.9998, and evaluate it; 0 = off.",
        low=0,
        high=1,
    ),
    "MAX_SKIPPED_STEPS": Option(
        10, "Steps in a row without a finite loss and gradient, which are left out, that end the training.", low=1
    ),
}
