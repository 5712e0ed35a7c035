"""Classifies a face crop with a bundle's ONNX file and onnxruntime, without Mien or TensorFlow. It helps to port the contract.

python examples/onnx_only.py src/mien/weights/default face.png
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # turns off the telemetry of onnxruntime; set it before the import
import onnxruntime

folder, picture = map(Path, sys.argv[1:3])
spec = json.loads((folder / "spec.json").read_text())
side = spec["chip_size"]
crop = Image.open(picture).convert("L" if spec["channels"] == 1 else "RGB").resize((side, side), Image.Resampling.BOX)
chip = np.asarray(crop, spec["input_dtype"]).reshape(1, side, side, spec["channels"]) / (255 if spec["input_range"] == "0..1" else 1)
weights = folder.parent / spec["weights_of"] if spec.get("weights_of") else folder  # models of the same network share one file
session = onnxruntime.InferenceSession(weights / "model.onnx", providers=["CPUExecutionProvider"])
answers = [spec["output_name"]] if spec.get("output_name") else None
((logits,),) = session.run(answers, {session.get_inputs()[0].name: chip.astype(spec["input_dtype"])})
odds = np.exp((logits - logits.max()) / spec["temperature"])
for probability, label in sorted(zip(odds / odds.sum(), spec["labels"], strict=True), reverse=True):
    print(f"{label:10} {probability:.4f}")
print("not sure" if odds.max() / odds.sum() < spec["uncertain_below"] else "sure enough")
