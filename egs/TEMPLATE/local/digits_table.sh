#!/usr/bin/env bash
# digits_table.sh FOLDER TABLE: the words and speakers of recordings named {digit}_{speaker}_{index}.wav, as a TSV file.
# An example of how the names of files become a table for `speechkit prepare --text`.
set -Eeuo pipefail
words=(zero one two three four five six seven eight nine)
{
    printf 'file\tspeaker\ttext\n'
    for file in "$1"/*.wav; do
        IFS=_ read -r digit speaker _ <<<"${file##*/}"
        printf '%s\t%s\t%s\n' "${file##*/}" "$speaker" "${words[digit]}"
    done
} >"$2.unfinished"
mv -- "$2.unfinished" "$2"
