// Have @sigstore/verify check proofs: cases from standard input, one verdict each to standard output.
// A verdict is "accepted" or what was thrown.

import { createPublicKey } from "node:crypto";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(import.meta.url);
const { verifyCheckpoint } = require("@sigstore/verify/dist/tlog/checkpoint.js");
const { verifyMerkleInclusion } = require("@sigstore/verify/dist/tlog/merkle.js");

const PREFIX = Buffer.from("302a300506032b6570032100", "hex"); // what stands before an Ed25519 key in DER

function check(one) {
  const key = Buffer.concat([PREFIX, Buffer.from(one.key, "hex")]);
  const log = {
    logID: Buffer.from(one.key_id, "hex"),
    publicKey: createPublicKey({ key, format: "der", type: "spki" }),
    baseURL: `https://${one.name}`,
  };
  const entry = {
    canonicalizedBody: Buffer.from(one.entry, "hex"),
    inclusionProof: {
      logIndex: String(one.index),
      hashes: one.hashes.map((each) => Buffer.from(each, "hex")),
      checkpoint: { envelope: one.note },
    },
  };
  try {
    verifyMerkleInclusion(entry, verifyCheckpoint(entry, [log]));
  } catch (error) {
    return String(error.message).slice(0, 200);
  }
  return "accepted";
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(check)));
