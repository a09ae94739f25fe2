// Scores an image with @grpc/grpc-js and the .proto alone, over TLS with a token.
//
//   LABELER_TOKEN=... node score.js HOST:PORT CA.pem IMAGE CLASS...
'use strict';
const fs = require('fs');
const path = require('path');
const { promisify } = require('util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTO_FOLDERS = [
  path.join(__dirname, '../../../proto'),
  path.dirname(require.resolve('google-proto-files/package.json')), // google/rpc/status.proto
];
const DEADLINE_MS = 60_000;

function connect(address, ca, token) {
  const contract = protoLoader.loadSync('clip_labeler/v1/labeler.proto', {
    includeDirs: PROTO_FOLDERS,
    keepCase: true, // Without it, fields of the contract's own spelling are dropped in silence.
    enums: String,
  });
  const { LabelerService } = grpc.loadPackageDefinition(contract).clip_labeler.v1;
  const withToken = grpc.credentials.createFromMetadataGenerator((_, callback) => {
    const metadata = new grpc.Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    callback(null, metadata);
  });
  const tls = grpc.credentials.createSsl(ca);
  return new LabelerService(address, grpc.credentials.combineChannelCredentials(tls, withToken));
}

// Probabilities in the order of the class names.
async function score(client, image, classNames) {
  const call = (name, request) => promisify(client[name]).call(client, request, { deadline: Date.now() + DEADLINE_MS });
  const vocabulary = await call('CreateVocabulary', { class_names: classNames });
  const response = await call('ScoreImages', {
    options: {
      vocabulary_id: vocabulary.vocabulary_id,
      preprocessing: { profile: 'PROFILE_PAPER' },
      output: 'OUTPUT_PROBABILITIES',
    },
    images: [{ content: image }],
  });
  const [result] = response.results;
  if (result.error) throw new Error(result.error.message);
  return classNames.map((_, i) => result.scores.data.readFloatLE(4 * i));
}

async function main([address, ca, image, ...classNames]) {
  const client = connect(address, fs.readFileSync(ca), process.env.LABELER_TOKEN);
  const scores = await score(client, fs.readFileSync(image), classNames);
  classNames.forEach((name, i) => console.log(`${scores[i].toFixed(6)} ${name}`));
  client.close();
}

module.exports = { connect };
if (require.main === module) main(process.argv.slice(2));
