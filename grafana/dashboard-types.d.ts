// The type of dashboard.json: the body of Grafana's import API, with each panel and query typed as its plugin reads it.
import type { Dashboard, FieldConfig, FieldConfigSource, Panel, RowPanel, DataSourceRef } from '@grafana/schema';
import type * as heatmap from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type * as stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as stateTimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as timeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** Enums of the schema as their JSON strings and numbers. */
type AsJson<T> = unknown extends T
  ? T
  : T extends string
    ? `${T}`
    : T extends number
      ? (`${T}` extends `${infer N extends number}` ? N : number)
      : T extends object
        ? { [K in keyof T]: AsJson<T[K]> }
        : T;

interface PrometheusQuery {
  refId: string;
  datasource: DataSourceRef;
  expr: string;
  legendFormat: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  range?: boolean;
}

type PanelOf<Type extends string, Options, Custom> = Pick<Panel, 'id' | 'title' | 'description' | 'datasource' | 'gridPos' | 'transformations'> & {
  type: Type;
  targets: PrometheusQuery[];
  options: Options;
  fieldConfig: Omit<FieldConfigSource, 'defaults'> & { defaults: Omit<FieldConfig, 'custom'> & { custom?: Partial<Custom> } };
};

type KnownPanel =
  | PanelOf<'heatmap', heatmap.Options, heatmap.FieldConfig>
  | PanelOf<'stat', stat.Options, never>
  | PanelOf<'state-timeline', stateTimeline.Options, stateTimeline.FieldConfig>
  | PanelOf<'table', table.Options, table.FieldConfig>
  | PanelOf<'timeseries', timeSeries.Options, timeSeries.FieldConfig>
  | RowPanel;

export type ImportRequest = AsJson<{
  dashboard: Omit<Dashboard, 'panels'> & { panels: KnownPanel[] };
  overwrite: boolean;
}>;
