"""`ccd export --hub`: an exported model to the Hugging Face hub, or to the hub that HF_ENDPOINT names."""

from pathlib import Path

from trainer.checksums import check_weights, write_checksums
from trainer.trained_model import model_folder


def upload(model: Path, repo: str, *, private: bool = False) -> str:
    """Uploads model/ in one commit and returns its address. The repository is made where there is none.

    Raises ValueError, in one line, where huggingface_hub or a token is missing, where the folder holds no whole model,
    and where the hub refuses.
    """
    folder = model_folder(model)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no exported classifier")
    if repo.count("/") != 1:
        raise ValueError(f"{repo}: name the repository as ORG/NAME")
    check_weights(folder)
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise ValueError("ccd export --hub needs huggingface_hub: pip install 'ccd[hub]'") from None
    if get_token() is None:
        raise ValueError("the hub wants a token: log in with `hf auth login`, or set HF_TOKEN")
    write_checksums(folder)  # thresholds and ONNX files may have come since
    api = HfApi()
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message="Model trained by ccd", ignore_patterns=".*"
        )
    except Exception as error:  # the hub's and the network's errors share no base class
        raise ValueError(f"{repo} could not be uploaded: {str(error).splitlines()[0]}") from error
    return str(commit.repo_url)
