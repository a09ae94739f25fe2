#!/bin/sh
# Scores an image with buf curl, which learns the contract by reflection, over TLS with a token.
#
#   LABELER_TOKEN=... ./buf_curl.sh HOST:PORT CA.pem IMAGE CLASS...
set -eu
address=$1 ca=$2 image=$3
shift 3

# In a file, since everybody on this machine sees the arguments of commands.
headers=$(mktemp)
trap 'rm -f "$headers"' EXIT
echo "authorization: Bearer $LABELER_TOKEN" > "$headers"

# call METHOD: JSON in, JSON out.
call() {
    buf curl --protocol grpc --cacert "$ca" --header "@$headers" --reflect-header '*' --data @- \
        "https://$address/clip_labeler.v1.LabelerService/$1"
}

# field NAME: the first string of that name in JSON.
field() {
    tr -d '\n' | sed -n 's/.*"'"$1"'": *"\([^"]*\)".*/\1/p'
}

names=$(printf '"%s",' "$@")
vocabulary=$(echo "{\"class_names\": [${names%,}]}" | call CreateVocabulary | field vocabularyId)
request=$(cat << JSON
{
    "options": {
        "vocabulary_id": "$vocabulary",
        "preprocessing": {"profile": "PROFILE_PAPER"},
        "output": "OUTPUT_PROBABILITIES"
    },
    "images": [{"content": "$(base64 < "$image" | tr -d '\n')"}]
}
JSON
)
for score in $(echo "$request" | call ScoreImages | field data | base64 --decode | od -A n -t f4 -w4 -v); do
    echo "$score $1"
    shift
done
