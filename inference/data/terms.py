"""Terms that stand once: modalities, sides, stages."""

MODALITIES = ("CT", "MR", "US", "PET", "Microscopy")
"""In the order of the codes that the networks were trained with."""
SIDES = ("left", "right")
"""Of the body, as the patient has them."""
STAGES = COARSE, FINE = "coarse", "fine"
"""Names of the usual two stages."""
LOCATE, REFINE = "locate", "refine"
"""Roles of a stage: over the whole volume; on the region of the result before it."""
OFF = "off"
MASK_STAGES = (*STAGES, OFF)
"""Which stage takes a user's mask as spatial prompt (Medal S, hybrid mode); `off`: none."""
RUNTIMES = ("auto", "openvino", "onnxruntime", "cuda")
"""What may be asked to run the networks; `auto` chooses."""
