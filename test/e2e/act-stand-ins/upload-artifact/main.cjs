const { cpSync, mkdirSync, readdirSync } = require('node:fs');
const { join } = require('node:path');

const { INPUT_NAME: name = '', INPUT_PATH: path = '', ACT_ARTIFACTS: artifacts = '' } = process.env;
if (readdirSync(path).length === 0) throw new Error(`${path} is empty`);
mkdirSync(artifacts, { recursive: true });
// An artifact can't be overwritten: two of one name in a run are a fault.
cpSync(path, join(artifacts, name), { recursive: true, errorOnExist: true, force: false });
process.stdout.write(`kept ${name}\n`);
