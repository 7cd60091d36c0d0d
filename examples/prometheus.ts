// npm run start:prometheus: the notes with metrics that Prometheus scrapes at http://127.0.0.1:9464/metrics, on a port
// of its own, so that nobody sees them who can reach the endpoint. examples/grafana-dashboard.json shows them in Grafana.
//
// scrape_configs:
//   - job_name: notes
//     static_configs: [{ targets: ['127.0.0.1:9464'] }]
import { metrics } from '@opentelemetry/api'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { MeterProvider } from '@opentelemetry/sdk-metrics'
import { connectionHelp } from './shared/connection-help.js'
import { buildApp } from './shared/notes-app.js'

const port = Number(process.env['METRICS_PORT'] ?? 9464)
const exporter = new PrometheusExporter({ host: '127.0.0.1', port })
// Before the plugin, which asks for it once.
metrics.setGlobalMeterProvider(new MeterProvider({ readers: [exporter] }))

const app = await buildApp({ telemetry: { traces: false } }, { logger: true, forceCloseConnections: true })
app.addHook('onClose', async () => { await exporter.shutdown() })
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { app.close() })

const url = await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
console.log(connectionHelp(url))
console.log(`Metrics: http://127.0.0.1:${port}/metrics`)
