"""What a user can cause and put right: one class per situation."""


class LoraloomError(Exception):
    """Something the user can fix; the message tells what was given, expected and what to do."""


class FolderMissing(LoraloomError):
    """The folder named does not exist or is not a folder."""


class FolderEmpty(LoraloomError):
    """The folder named holds no picture."""


class ImageUnreadable(LoraloomError):
    """A picture or a clip is broken, too large, or of a kind that is not accepted."""

    def __init__(self, message: str, code: str = "image_broken") -> None:
        self.code = code
        super().__init__(message)


class CaptionMissing(LoraloomError):
    """A picture has no caption."""


class CaptionUnreadable(LoraloomError):
    """A caption is empty, too long, or not text."""

    def __init__(self, message: str, code: str = "caption_not_text") -> None:
        self.code = code
        super().__init__(message)


class DatasetProblems(LoraloomError):
    """Everything that is wrong with a folder of pictures, told at once."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class ConfigInvalid(LoraloomError):
    """A setting is unknown, misspelt or out of range."""


class BaseUnknown(LoraloomError):
    """The base model named is neither known by name nor a folder that a family recognises."""


class HubRefused(LoraloomError):
    """The hub cannot be reached, or does not give what was asked of it."""


class BaseNameInvalid(LoraloomError):
    """A base cannot have that name."""


class BaseKept(LoraloomError):
    """A base cannot be removed: it is a part of Loraloom, or jobs need it."""


class AdapterUnreadable(LoraloomError):
    """An adapter file is missing, broken or of a kind that is not accepted."""


class AdapterKeysUnknown(LoraloomError):
    """An adapter names modules that the base model does not have."""


class LossNotFinite(LoraloomError):
    """The loss became NaN or infinite; the last good checkpoint was kept."""


class MemoryExhausted(LoraloomError):
    """The device had no memory left; the last good checkpoint was kept."""


class DiskFull(LoraloomError):
    """The disk had no room; nothing half-written was left under a final name."""


class CheckpointUnusable(LoraloomError):
    """No checkpoint of the run could be used, or it belongs to another run."""


class OutputExists(LoraloomError):
    """The place to write to already holds something that would be overwritten."""


class PromptEmpty(LoraloomError):
    """A picture was asked for without a prompt."""


class NothingToTrain(LoraloomError):
    """The settings leave no step, picture or module to train."""


class OutputUnwritable(LoraloomError):
    """A file could not be written: no permission, a read-only or vanished folder."""


class AdapterNameUnknown(LoraloomError):
    """No adapter of that name is loaded, or the name is already taken."""


class SizeInvalid(LoraloomError):
    """The picture size asked for does not fit the base model."""


class SubjectUnknown(LoraloomError):
    """No held-out subject of the starter world has that name."""


class IntakeRefused(DatasetProblems):
    """What was to be imported has problems; nothing of it was stored."""

    def __init__(self, problems: list[str], codes: list[str]) -> None:
        self.codes = codes
        """One stable name for each problem, such as "zip_path"."""
        super().__init__(problems)


class DatasetUnknown(LoraloomError):
    """No stored dataset or snapshot has that name, or the name is ambiguous."""


class DatasetNameInvalid(LoraloomError):
    """A dataset or concept cannot have that name, or it is taken."""


class DatasetBusy(LoraloomError):
    """Another process is changing the dataset."""


class DatasetDamaged(LoraloomError):
    """A stored file is missing or is not what was stored, or a newer version wrote it."""


class NothingToUndo(LoraloomError):
    """No earlier state of the dataset or the captions is kept."""


class ChangedMeanwhile(LoraloomError):
    """A thing is no longer what a change of it was made from."""


class CaptionsChanged(LoraloomError):
    """A caption was changed since the edit that is to be undone."""


class CaptionEditInvalid(LoraloomError):
    """An edit of captions names no change, or one that cannot be understood or made."""


class TaggerUnknown(LoraloomError):
    """A tagger is neither known by name, nor a folder, nor to be had from the hub."""


class TaggerUnusable(LoraloomError):
    """A tagger's files are broken or of another kind, or what runs them is not installed."""


class ProviderInvalid(LoraloomError):
    """The address, model or key of a vision model cannot be used as given."""


class ProviderFailed(LoraloomError):
    """A vision model behind an address does not answer; what was answered before is kept."""


class CaptionerInvalid(LoraloomError):
    """Options of automatic captions contradict each other or are out of range."""


class UpscalerUnusable(LoraloomError):
    """A model that is to enlarge pictures is missing, broken or of a kind that is not accepted."""


class ClassPicturesUnneeded(LoraloomError):
    """Class pictures were asked for a kind that seldom needs them."""


class CropInvalid(LoraloomError):
    """A crop does not lie inside its picture, or is too small."""


class RotationRefused(LoraloomError):
    """A clip cannot be rotated, nor a picture that would become another one of its dataset."""


class AdapterEditInvalid(LoraloomError):
    """What was asked of adapter files lacks something, or the files do not go together."""


class DatabaseUnusable(LoraloomError):
    """The database does not answer, is broken or must not be written."""


class DataNewer(LoraloomError):
    """A newer version has written the data of this installation."""


class JobUnknown(LoraloomError):
    """No job has that number."""


class JobRefused(LoraloomError):
    """What was asked of a job does not fit the state that it is in."""


class ComparisonInvalid(LoraloomError):
    """What was said on comparing two runs does not fit them."""


class StartRefused(DatasetProblems):
    """A run cannot be started yet; everything that stands in its way is told."""


class PlanFailed(LoraloomError):
    """The memory and time of a run could not be estimated just now."""


class ServerRefused(LoraloomError):
    """The studio cannot be served here: its folder or port is taken, or it would not be safe."""


class UploadUnknown(LoraloomError):
    """There is no such upload; abandoned ones are removed after a day."""


class UploadRefused(LoraloomError):
    """Bytes of an upload do not go where its file ends, or it is busy or incomplete."""


class UploadTooLarge(LoraloomError):
    """An upload is larger than this installation takes."""


class Forbidden(LoraloomError):
    """The person's role does not allow it."""


class SignInRequired(LoraloomError):
    """Nobody is signed in, or the session or token is unknown, ended or expired."""


class SignInRefused(LoraloomError):
    """The name or the password is not right."""


class TooManyRequests(LoraloomError):
    """Asked too often; after `wait_s` seconds it is answered again."""

    def __init__(self, message: str, wait_s: int) -> None:
        self.wait_s = wait_s
        super().__init__(message)


class PasswordRefused(LoraloomError):
    """A password is too short or too easily guessed."""


class PersonInvalid(LoraloomError):
    """An account cannot have that name, or a change would leave the studio without an owner."""


class PersonUnknown(LoraloomError):
    """No account has that name or number."""


class EntryUnknown(LoraloomError):
    """No session, token or link has that number or secret, or it has expired."""


class AdapterUnknown(LoraloomError):
    """No adapter of the library has that number, or its file is gone."""


class AdapterRefused(LoraloomError):
    """An adapter cannot be taken into the library, or not be used for what was asked."""


class AdapterDamaged(LoraloomError):
    """The file of an adapter in the library is not what was stored."""


class ProjectUnknown(LoraloomError):
    """There is no such project."""


class PictureUnknown(LoraloomError):
    """No picture of the playground has that number, or it is not drawn yet."""
