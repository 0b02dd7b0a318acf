"""The public surface, frozen: it changes only on purpose, here and in the changelog.

Taking something away or renaming it breaks users. A new loss, term or method needs no line here, because its file is
all that it is; these lists grow when a release is made.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import understudy
from understudy import terms
from understudy.cli._app import app

NAMES = """
    Augmentation Callback Distilled Objective Outcome Pair PrintEpochs Reading Reads Settings Stage StoredAnswers Tap
    TappedNetwork Term TrainConfig UserError auto balanced data distill linear load losses methods models optimizers
    schedules step tasks terms trackers
"""
LOSSES = """
    activation_boundaries attention_transfer batch_correlation boundary_kd bounded_boxes box_distance
    can_discriminator can_student cat_kd class_correlation class_distance class_spread confident_regression
    confident_teachers correlation_congruence correlation_of_differences crd crld cross_entropy curriculum_kd cwd
    cwtm darkrank dgkd direction dist dkd dkpp encoder_features ensemble_kd factor_transfer feature_mse
    focal_features fsp function_matching gan_discriminator gan_student gradient_attention hierarchical_context hint
    ickd info_nce irg_edges irg_transformation joint_discriminator joint_student kd ldrld logit_regression logits_l1
    lsgan_discriminator lsgan_student mgd minilm mlkd mutual_kl neurons nkd noisy_logit_regression nst ofa ofd
    others_kd output_distance pad paraphraser_reconstruction patience pearson pkt relative_dissimilarity rkd_angle
    rkd_distance rld rocket_hint sdd similarity_preserving simkd soft_divergence srd srrl_features srrl_logits sskd
    standardised_kd target_kd teacher_bounded tinybert_attention tinybert_hidden token_kd transformed_teacher vid
    view_contrast virtual_teacher_kd vote_cross_entropy weighted_soft_labels wgan_critic wgan_student
"""
DATA = [
    "Access",
    "Batch",
    "Contents",
    "Data",
    "DataSet",
    "Part",
    "Augmentation",
    "Blur",
    "Crop",
    "Erase",
    "Jitter",
    "RandAugment",
    "Stream",
    "TokenNoise",
    "TrivialAugment",
    "Turn",
    "as_data",
    "clouds",
    "from_datasets",
    "from_inputs",
    "from_tensors",
    "from_triples",
    "load",
    "names",
]
TERMS = """
    AB AT BSS BYOT CAN CATKD CC CCDifferences CE CRD CRDBatch CRLD CWD CWTM ClassDistance ClassSpread Confidence
    ConfidentMaps ConfidentTeachers CurriculumKD DGKD DIST DISTMaps DKD DKPP DML DarkRank Direction EncoderFeatures
    FCFD FGD FSP FactorTransfer GradientAT Hint ICKD IRG KD KDSVD LDRLD Labels Localisation LogitRegression LogitsL1
    MGD MLKD MiniLM N3 NKD NORM NST Neurons NoisyTeacher OFA OFD OthersKD Outputs PAD PKD PKT Paraphraser Patience
    RKDAngle RKDDistance RLD Review Rocket SDD SP SRD SRRL SSKD ScaleKD SeveralTeachers SimKD SoftDivergence
    StandardisedKD TapLabels TargetKD TinyBERT TokenKD TokenLabels TransformedTeacher Triplets VID ViewHead
    VirtualTeacher Vote WeightedSoftLabels
"""
METHODS = {
    "alone": "label_smoothing",
    "byot": "pairs soft_share temperature features weight",
    "ca-mkd": "temperature weight label_weight",
    "ca-mkd-maps": "maps others maps_weight temperature weight label_weight",
    "crld": "within across temperature sure_weak sure_strong operations magnitude strong_labels weight",
    "deepkd": (
        "temperature top by_teacher label_weight target_weight others_weight warmup_epochs labels_momentum "
        "target_momentum others_momentum"
    ),
    "deit": "token form temperature labels weight label_weight",
    "dot": "temperature squared student_temperature gap weight label_weight",
    "irg": "pairs embedding vertices edges transformations weight",
    "kd": "temperature squared student_temperature weight label_weight",
    "fitnets": "pair further hint_epochs hint_lr hint_reduce regressor regressor_max_norm temperature weight "
    "final_weight anneal_epochs squared label_weight student_temperature soft_lr_scale",
    "fitnets-joint": "pair reduce regressor where max_norm weight",
    "ldrld": "alpha beta top temperature weight",
    "logit-regression": "reduce weight",
    "confidence": "samples covariance ridge reduce dropout weight label_weight",
    "minilm": "attention value_relation relation_epochs",
    "noisy-teacher": "sigma share reduce weight",
    "outputs": "form delta bounded margin weight label_weight",
    "fgd": "pairs temperature alpha beta gamma relation weight",
    "pkd": "pairs weight",
    "fcfd": "pairs maps warmup_epochs paths temperature weight soft_weight label_weight",
    "scalekd": "pairs spatial frequency scale heads temperature weight soft_weight label_weight",
    "norm": "maps heads copies weight soft_weight label_weight",
    "kdsvd": "pairs vectors weight",
    "localisation": "form delta bounded margin weight score_weight temperature label_weight",
    "dist": "beta gamma temperature weight",
    "dist-plus": "maps channels places weight maps_weight beta gamma temperature",
    "dkd": "alpha beta temperature weight warmup_epochs",
    "function-matching": "mixup longer temperature weight",
    "ctkd": "start span rise_epochs by weight label_weight",
    "mlkd": "temperatures instance batch classes weight label_weight",
    "nkd": "gamma temperature weight",
    "pad": "embedding weight plain_epochs",
    "patient-kd": "pairs patience_weight normalize weight label_weight temperature",
    "sdd": "maps heads grids form temperature alpha beta weight label_weight warmup_epochs",
    "skd": "temperature squared ridge soft_weight weight label_weight",
    "srd": "embedding exponent weight soft_weight temperature",
    "sskd": (
        "embedding answers similarities temperature similarity_temperature keep_answers keep_similarities "
        "weight soft_weight label_weight head_epochs head_lr"
    ),
    "standardised-kd": "temperature squared weight label_weight",
    "divergence": "form temperature skew top weight label_weight",
    "tinybert": "attentions pairs layer_epochs temperature label_weight",
    "ttm": "gamma weighted weight",
    "wttm": "gamma weighted weight",
    "rld": "alpha beta temperature sure_temperature weight warmup_epochs",
    "wsl": "temperature weight",
    "neurons": "embedding share selected reduce weight label_weight",
    "selected-neurons": "embedding share selected reduce weight label_weight",
    "at": "pairs p reduce distance weight label_weight",
    "at-gradient": "pair form p distance weight label_weight",
    "class-distance": "embedding weight reduce label_weight",
    "fsp": "pairs fsp_epochs fsp_lr weight reduce",
    "fsp-joint": "pairs reduce weight label_weight",
    "nst": "maps kernel degree offset variance weight label_weight",
    "factor-transfer": "maps weight rate distance paraphraser_epochs paraphraser_lr paraphraser_distance label_weight",
    "ab": "pairs boundary_epochs boundary_lr weight margin kd_weight temperature squared label_weight",
    "ofd": "pairs weight label_weight",
    "vid": "pairs variance weight label_weight",
    "crd": "embedding width negatives temperature momentum other_classes weight",
    "crd-batch": "embedding width temperature other_classes weight",
    "cwd": "maps temperature regressor weight",
    "ickd": "maps embed weight",
    "review": "pairs embedding weight warmup_epochs",
    "srrl": "maps heads features logits weight",
    "mgd": "maps ratio mask regressor weight",
    "encoder": "maps form places whole",
    "simkd": "maps heads weight label_weight factor",
    "cat-kd": "maps heads resolution normalize weight",
    "ofa": "pairs exponent temperature form weight",
    "triplets": "embedding margin others weight",
    "darkrank-hard": "embedding transfer alpha beta list_length length weight",
    "darkrank-soft": "embedding transfer alpha beta list_length length weight",
    "pkt": "embedding itself weight",
    "cc": "embedding kernel gamma order weight",
    "cc-differences": "embedding width weight",
    "rkd": "embedding weight distance_weight angle_weight",
    "sp": "maps weight",
    "can": "game layers dropout saturating penalty adversary_lr_scale condition prediction weight l1_weight "
    "l1_reduction",
    "bss": "weight soft_weight final_soft_weight temperature steps most share",
    "takd": "temperature squared student_temperature weight label_weight",
    "several-teachers": "combine weights temperature weight label_weight",
    "dgkd": "weight temperature form survival drop",
    "dml": "peers architecture temperature reduce weight",
    "rocket": "shared weight block",
    "born-again-cwtm": "weight",
    "born-again-dkpp": "temperature weight",
    "tf-kd-reg": "correct temperature student_temperature weight label_weight",
    "stages": "stages",
    "terms": "terms",
}
COMMANDS = {
    "demo": "--out --seeds --train-teacher --open --json",
    "distill": "--out recipe --teacher --student --data --unlabelled --method --epochs --seeds --retrain --tensorboard "
    "--onnx-latency --set --settings --trust --verbose/-v --checkpoint-seconds "
    "--check/--no-check --cache --workers --engine --address --dry-run --json",
    "answers": "recipe --out --set --settings --trust --verbose/-v --checkpoint-seconds --check/--no-check "
    "--cache --json",
    "path": "recipe --out --strategy --max-assistants --budget --set --settings --trust --verbose/-v "
    "--checkpoint-seconds --check/--no-check --cache --workers --engine --address --dry-run --json",
    "advise": "source --data --family --max-latency --max-parameters --max-multiplications --try --out --method "
    "--epochs --seeds --set --settings --trust --verbose/-v --checkpoint-seconds --check/--no-check --cache --workers "
    "--engine --address --dry-run --json",
    "check": "recipe --set --settings --trust --verbose/-v --json",
    "tune": "recipe --out --search --trials --method --seeds --workers --engine --address --also-optimistic --set "
    "--settings --trust --verbose/-v --checkpoint-seconds --check/--no-check --cache --json",
    "taps": "model --student --shape --classes --all --trust --json",
    "methods": "name --task --json",
    "report": "runs --sort --max-latency --max-size --reach/--min-accuracy --out --figures --markdown --latex --json",
    "bench": "recipe --method --seconds --choose --write --set --settings --trust --json",
    "landscape": "run --grid --samples --part --seed --trust --json",
    "export": "student --to --out --tolerance --data --root --teacher --method --training --broken --trust --json",
    "predict": "student images --top --batch --draw --submission --method --training --trust --json",
    "card": "student --push --out",
    "cache": "",
}
STORE = {"list": "--cache --json", "check": "--cache --json", "prune": "--cache --days --dry-run --json"}
RUN_FOLDER = ["recipe.toml", "metrics.jsonl", "result.json", "student.safetensors", "student.json", "report.html"]
HEAVY = """
    PIL annotated_doc click huggingface_hub jinja2 matplotlib onnx onnxruntime onnxscript optuna pydantic ray rich scipy
    sqlalchemy tensorboard timm tomli_w torch._dynamo torch._inductor torchvision transformers typer
"""


def reexported(module):
    """What a module's ``__init__`` imports as its own: ``import x as x``, or ``__all__``."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    nodes = ast.walk(ast.parse(Path(module.__file__).read_text()))
    imports = [alias for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
    return sorted(alias.name for alias in imports if alias.asname == alias.name)


def test_the_names_at_the_top_level_and_of_the_losses():
    assert reexported(understudy) == sorted(NAMES.split())
    assert [name for name in LOSSES.split() if name not in reexported(understudy.losses)] == []
    assert reexported(understudy.data) == sorted(DATA)
    assert all(hasattr(understudy, name) for name in NAMES.split())


def test_the_terms_the_methods_and_their_settings():
    assert [name for name in TERMS.split() if name not in terms.TERMS] == []
    settings = {name: " ".join(method.settings) for name, method in understudy.methods.METHODS.items()}
    assert {name: settings.get(name) for name in METHODS} == METHODS


def options(command):
    return " ".join("/".join([*p.opts, *p.secondary_opts]) for p in command.params)


def test_the_commands_and_their_options():
    commands = typer.main.get_command(app).commands
    assert {name: options(command) for name, command in commands.items()} == COMMANDS
    assert {name: options(command) for name, command in commands["cache"].commands.items()} == STORE


def test_the_names_of_a_run_folder(make_run, tmp_path):
    from understudy.report import write_report

    make_run().execute()
    write_report(tmp_path / "run")
    assert [name for name in RUN_FOLDER if not (tmp_path / "run" / name).is_file()] == []


@pytest.fixture(scope="module")
def imported():
    """What the public names bring beyond ``import torch``, in an interpreter of its own; those of runs apart."""
    code = (
        "import sys, torch; a = set(sys.modules); import understudy; "
        f"[getattr(understudy, name) for name in {sorted({*NAMES.split()} - {'distill', 'Distilled'})}]; "
        "print(*(set(sys.modules) - a), sep='\\n')"
    )
    root = str(Path(understudy.__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("package", HEAVY.split())
def test_importing_understudy_imports_nothing_heavy_or_optional(imported, package):
    assert "understudy.objective" in imported
    assert not [name for name in imported if name == package or name.startswith(f"{package}.")]
