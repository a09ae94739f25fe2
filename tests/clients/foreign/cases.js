// The six cases of interoperability, and a wrong token, with @grpc/grpc-js; prints the status codes as JSON.
//
//   node cases.js HOST:PORT CA.pem
'use strict';
const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const { connect } = require('./score.js');

const [address, ca] = [process.argv[2], fs.readFileSync(process.argv[3])];
const client = connect(address, ca, process.env.LABELER_TOKEN);

const unary = (method, request, from = client) =>
  new Promise((resolve) => from[method](request, (error) => resolve(error ? error.code : grpc.status.OK)));

// A call that the server cannot end, since its first message never comes.
function endless(options, start) {
  return new Promise((resolve) => {
    const call = client.ScoreImageStream(options);
    call.on('data', () => {});
    call.on('error', (error) => resolve(error.code));
    start(call);
  });
}

function unimplemented() {
  const bytes = (value) => value;
  const path = '/clip_labeler.v1.LabelerService/NoSuchMethod';
  return new Promise((resolve) =>
    client.makeUnaryRequest(path, bytes, bytes, Buffer.alloc(0), (error) => resolve(error.code)));
}

async function main() {
  const codes = {
    ok: await unary('GetServerInfo', {}),
    invalid: await unary('CreateVocabulary', {}),
    cancel: await endless({}, (call) => setTimeout(() => call.cancel(), 100)),
    deadline: await endless({ deadline: Date.now() + 300 }, () => {}),
    too_large: await unary('ScoreImages', { images: [{ content: Buffer.alloc(5 * 2 ** 20) }] }),
    unimplemented: await unimplemented(),
    wrong_token: await unary('GetServerInfo', {}, connect(address, ca, 'not-a-token')),
  };
  console.log(JSON.stringify(codes));
  process.exit(0);
}

main();
