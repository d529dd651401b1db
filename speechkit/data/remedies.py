"""What to do about each kind of problem that data can have."""

OTHERWISE = "correct it or leave it out"
REMEDIES = {
    "archive": "write the audio to files: Kaldi's wav-copy does it",
    "bad transcript": "make it a text file in UTF-8 that you may read: iconv -f latin1 -t utf8 OLD > NEW",
    "byte-order mark": "nothing needs doing; `sed -i '1s/^\\xef\\xbb\\xbf//' FILE` removes it",
    "changed": "run `speechkit prepare` again: the file is not what it was then",
    "compressed": "unpack it: sph2pipe -f wav FILE.wv1 FILE.wav, or ffmpeg -i FILE.wv1 FILE.wav",
    "control characters": "nothing needs doing; they are taken for spaces",
    "duplicate id": "rename one of them, or remove the line too many",
    "empty file": "copy or record the file again",
    "header lies": "write the file anew: ffmpeg -i OLD.wav NEW.wav",
    "mixed": "nothing needs doing, if all channels hold the same speech; else pick one: ffmpeg -map_channel",
    "narrow band": "nothing needs doing; set fbank.high_hz below half the lowest rate, if it is that of many files",
    "no audio": "add the recording, or remove its transcript",
    "no audio file": "add the recording, or remove its transcript",
    "no samples": "record the file again",
    "no speaker": "nothing needs doing; with speakers, sets share none: name them by folders or a column `speaker`",
    "no times": "correct the line of `segments`",
    "no transcript": "add the words, or remove the recording",
    "not audio": "check what it is with `file`, and convert it: ffmpeg -i FILE FILE.wav",
    "not finite": "convert it anew from its source",
    "not mono": "mix or pick a channel: ffmpeg -i OLD.wav -ac 1 NEW.wav; `speechkit prepare --audio` does it",
    "not readable here": "install ffmpeg (apt-get install ffmpeg), or convert it to WAV or FLAC",
    "not spelled out": "write digits and symbols as the words that were said",
    "out of range": "divide the samples by 32768: floats of audio lie between -1 and 1",
    "outside the audio": "correct the times, or the recording",
    "pipe": "give --run-pipes, which runs the commands of wav.scp",
    "resampled": "nothing needs doing",
    "silent": "record it again, or pick the channel with speech",
    "spaces in id": "nothing needs doing; they have become _",
    "tabs": "nothing needs doing; they are taken for spaces",
    "too short": "leave it out",
    "truncated": "copy or record the file again: its end is missing",
    "unreadable": "give yourself the right to read it (chmod +r, for folders +rx), or copy it again",
    "Windows line ends": "nothing needs doing; `sed -i 's/\\r$//' FILE` removes them",
    "wrong rate": "convert it: ffmpeg -i OLD.wav -ar 16000 NEW.wav; `speechkit prepare --audio` does it",
}


def remedy_of(reason: str) -> str:
    """What to do about a problem, by its reason `kind: details`."""
    return REMEDIES.get(reason.partition(":")[0], OTHERWISE)
