// The type of a dashboard: Grafana's schema, with the panels and the queries that
// doc/monitoring uses.
import type { Dashboard, Panel } from '@grafana/schema';

interface PrometheusQuery {
	refId: string;
	expr: string;
	legendFormat: string;
}

type TimeSeries = Omit<Panel, 'type' | 'targets'> & { type: 'timeseries'; targets: PrometheusQuery[] };

export type CheckedDashboard = Omit<Dashboard, 'panels'> & { panels: TimeSeries[] };
