// Compiles schemas with ajv, as TypeScript clients do, in both dialects they use and as strictly as it can.
// node ajv.mjs NODE_MODULES < {name: schema}; writes {name: what is wrong} for those that do not compile.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const packages = createRequire(`${process.argv[2]}/`)
const dialects = { 'draft-07': packages('ajv').default, '2020-12': packages('ajv/dist/2020').default }
const options = { strict: true, strictTypes: true, strictRequired: true, allErrors: true }

const wrong = {}
for (const [name, schema] of Object.entries(JSON.parse(readFileSync(0, 'utf8')))) {
  for (const [dialect, Ajv] of Object.entries(dialects)) {
    try {
      new Ajv(options).compile(schema)
    } catch (error) {
      wrong[`${name} in ${dialect}`] = error.message
    }
  }
}
process.stdout.write(JSON.stringify(wrong))
