// Checks KQL with Microsoft's language service: node check.js <node_modules> < {"tables": {name: schema}, "queries": {name: text}}
// Writes {name: [what is wrong]} for every query.
const service = process.argv[2] + '/@kusto/language-service-next/';
require(service + 'bridge.min.js');
require(service + 'Kusto.Language.Bridge.min.js');
const { Diagnostic, GlobalState, KustoCode, Symbols } = Kusto.Language;

const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));
// The constructors are overloads, numbered by the compiler: (name, schema, description) and (name, members).
const tables = Object.entries(given.tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.$ctor2('workspace', null, tables, false));

function problems(text) {
  const found = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  return System.Linq.Enumerable.from(found, Diagnostic).ToArray(Diagnostic)
    .map(each => `${each.Severity} at ${JSON.stringify(text.substr(each.Start, 30))}: ${each.Message}`);
}

const results = Object.entries(given.queries).map(([name, text]) => [name, problems(text)]);
process.stdout.write(JSON.stringify(Object.fromEntries(results)));
