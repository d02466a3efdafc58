// Signs in to an MCP server with the TypeScript SDK of the handshake era, which most desktop clients are built on.
// node sign_in.mjs NODE_MODULES URL CALLBACK; prints what it was registered as and how many tools it sees.
import { createRequire } from 'node:module'

const [modules, url, callback] = process.argv.slice(2)
const sdk = createRequire(`${modules}/`)
const { Client } = sdk('@modelcontextprotocol/sdk/client/index.js')
const { StreamableHTTPClientTransport } = sdk('@modelcontextprotocol/sdk/client/streamableHttp.js')
const { UnauthorizedError } = sdk('@modelcontextprotocol/sdk/client/auth.js')

const kept = {}
const auth = {
  redirectUrl: callback,
  clientMetadata: { client_name: 'tests', redirect_uris: [callback], token_endpoint_auth_method: 'client_secret_post' },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier },
  async redirectToAuthorization(address) {
    let next = address.toString()
    while (!next.startsWith(callback)) next = (await fetch(next, { redirect: 'manual' })).headers.get('location')
    kept.code = new URL(next).searchParams.get('code')
  },
}

const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: auth })
const client = () => new Client({ name: 'tests', version: '1' })

const refused = transport()
await client().connect(refused).catch((problem) => { if (!(problem instanceof UnauthorizedError)) throw problem })
await refused.finishAuth(kept.code)
const admitted = client()
await admitted.connect(transport())
kept.tokens.access_token = 'one that is over'
const { tools } = await admitted.listTools()
console.log(JSON.stringify({ client: kept.client, tools: tools.length }))
await admitted.close()
