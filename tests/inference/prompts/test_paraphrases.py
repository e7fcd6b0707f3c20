"""Names by which clinicians call the targets of the default weights: each asks for the same thing."""

import numpy as np
import pytest

from vesal.inference.prompts.parser import parse_prompts

EMPTY = np.zeros((1, 1, 1), np.uint8)

NAMES = {
    ("MR", "right ventricle"): "RV cavity; right cardiac ventricle; blood pool of the right ventricle",
    ("MR", "left ventricle"): "LV; left cardiac ventricle; cavity of the left ventricle; LV blood pool",
    ("MR", "left ventricle myocardium"): (
        "Myo; LV wall; left ventricular myocardial wall; myocardium of the left ventricle; "
        "cardiac myocardium; wall of left ventricle; muscle of the left ventricle"
    ),
    ("MR", "right ventricle myocardium"): "wall of the right ventricle; RV wall",
    ("MR", "left atrium"): "LA; LA cavity; left atrial blood pool; left heart atrium; atrium sinistrum",
    ("MR", "anterior hippocampus"): (
        "hippocampal head; hippocampus head; head of hippocampus; front part of the hippocampus"
    ),
    ("MR", "posterior hippocampus"): (
        "hippocampal tail; tail of the hippocampus; body and tail of the hippocampus; "
        "posterior portion of the hippocampus"
    ),
    ("MR", "prostate"): "prostata; whole prostate gland",
    ("MR", "soft tissue sarcoma"): "soft-tissue sarcoma; STS; sarcomatous mass; soft tissue tumour",
    ("CT", "soft tissue sarcoma"): "gross tumor volume of the soft tissue sarcoma",
    ("PET", "soft tissue sarcoma"): "FDG-avid sarcoma; hypermetabolic sarcoma",
    ("MR", "spinal cord"): "medulla spinalis; spinal medulla; the cord in the spinal canal",
    ("MR", "thalamus"): "thalami; thalamic nuclei",
    ("MR", "caudate nucleus"): "nucleus caudatus; caudates",
    ("MR", "pallidum"): "globus pallidus; globus pallidum",
    ("MR", "peritumoral edema"): "tumor-surrounding edema; oedema around the tumor",
    ("MR", "enhancing tumor"): "enhancing part of the tumor; contrast enhancement of the tumor; active tumor",
    ("MR", "non-enhancing tumor"): "non-enhancing part of the tumor; nonenhancing part of the tumour",
    ("MR", "multiple sclerosis lesion"): "MS plaques; lesions of multiple sclerosis",
    ("CT", "brainstem"): "brain stem; stem of the brain; truncus cerebri",
    ("CT", "right parotid gland"): "R parotid; parotid gland, right; glandula parotis dextra; Rt. parotid",
    ("CT", "left parotid gland"): "parotid gland of the left side; parotid_L; glandula parotis sinistra",
    ("CT", "mandible"): "mandibula; lower jaw; mandibular bone",
    ("CT", "glottis"): "vocal cords",
    ("US", "mitral valve leaflet a"): "leaflet A of mitral valve; anterior leaflet of the mitral valve",
    ("US", "mitral valve leaflet b"): "posterior leaflet of the mitral valve",
}


@pytest.mark.parametrize(("asked", "names"), NAMES.items(), ids=lambda value: " ".join(value)[:40])
def test_names_of_one_target_ask_for_the_same(asked: tuple[str, str], names: str) -> None:
    modality, target = asked
    for name in names.split("; "):
        for sentence in (
            name,
            f"{name} in {modality}",
            f"Please segment the {name} on this {modality} volume",
        ):
            prompts, _ = parse_prompts({1: sentence}, name=f"{modality}_1", image=EMPTY)
            assert (prompts[0].target, prompts[0].modality) == (target, modality), sentence
